"""Learning rate as a pure function of the step, so that a resumed training equals an uninterrupted one."""

from __future__ import annotations

import math

WARM_UP, START, END = 0.1, 0.04, 1e-3  # share of the steps; first and last rate as shares of the peak


def one_cycle(step: int, total: int) -> float:
    """The share of the peak learning rate at a step: half a cosine up, half a cosine down.

    Source: Smith and Topin, "Super-convergence", 2019, in the form with cosine annealing.
    """
    up = max(1.0, WARM_UP * total)
    if step < up:
        return _between(START, 1.0, step / up)
    return _between(1.0, END, min(1.0, (step - up) / max(1.0, total - 1 - up)))


def _between(first: float, last: float, share: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * share)) / 2
