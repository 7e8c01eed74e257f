"""When to stop: what the next labels would bring, by the learning curve so far and by how far the branches agree.

Dice over the number of labels follows an inverse power law well, ``a - b n^-c`` (Figueroa et al., "Predicting sample
size required for classification performance", BMC Medical Informatics 2012). From a handful of noisy rounds the three
numbers cannot be told apart, so no single curve is taken: every ``c`` of a grid has its least-squares ``a`` and ``b``,
and counts by how well it explains the rounds. What they disagree on is the width of the estimate.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

POWERS = np.linspace(0.2, 2.0, 19)
NOISE = 0.01  # sd of the Dice of a round at least: other seed, other validation studies
MORE = 10  # labels, where nobody asks for another number
LEAST = 3  # rounds with different numbers of labels
Z = 1.28  # 80 % of a normal distribution
WORTH = 0.005  # Dice: less is within what another seed changes


@dataclass(frozen=True)
class Outlook:
    """What so many ``more`` labels would bring.

    Attributes:
        gain: of Dice; None while there are fewer than :data:`LEAST` rounds. low, high: 80 % interval of it.
        unlabelled, labelled: mean score (see :mod:`lib.selection.score`) of the live model on either; None: unknown.
            Where the model is as sure of what it never saw as of what it learnt from, labels teach it little.
        reason: all of it in words.
    """

    more: int
    gain: float | None
    low: float | None
    high: float | None
    unlabelled: float | None
    labelled: float | None
    reason: str


def outlook(
    rounds: Sequence[tuple[int, float]],
    more: int = MORE,
    scores: Mapping[str, float] = MappingProxyType({}),
    labelled: Collection[str] = (),
) -> Outlook:
    """Estimate from ``(labels, Dice)`` of each round and the live model's scores of the studies.

    Args:
        rounds: in any order; of equal numbers of labels all count, as repetitions.
        more: labels, from the largest number so far.
        scores: study -> score. labelled: ids of the studies that have a label.
    """
    sides = [[score for study, score in scores.items() if (study in labelled) is known] for known in (False, True)]
    unsure, sure = (float(np.mean(each)) if each else None for each in sides)
    counts = {labels for labels, _ in rounds if labels > 0}
    if len(counts) < LEAST:
        words = f"The estimate of what more labels bring needs {LEAST} trainings with different numbers of labels; "
        words += f"so far there {'is' if len(counts) == 1 else 'are'} {len(counts)}"
        return Outlook(more, None, None, None, unsure, sure, f"{words}.{_agreement(unsure, sure)}")
    gain, sd = expected_gain([each for each in rounds if each[0] > 0], more)
    low, high = max(0.0, gain - Z * sd), gain + Z * sd
    words = (
        f"{more} more labels are expected to bring {gain:+.3f} Dice ({low:.3f} to {high:.3f}), by {len(rounds)} rounds"
    )
    words += ": hardly worth it" if high < WORTH else ""
    return Outlook(more, gain, low, high, unsure, sure, f"{words}.{_agreement(unsure, sure)}")


def expected_gain(rounds: Sequence[tuple[int, float]], more: int) -> tuple[float, float]:
    """Mean and standard deviation of the gain of Dice from the largest number of labels on; never below 0.

    For each power the gain is ``b (n^-c - (n + more)^-c)``, with ``b >= 0`` and ``a <= 1`` by least squares and its
    variance by the usual formula; powers weigh ``exp(-SSE / (2 noise^2))``.
    """
    labels, dice = (np.array(side, dtype=float) for side in zip(*rounds, strict=True))
    last, found = labels.max(), []
    for power in POWERS:
        falling = labels**-power
        slope, sse = _fit(falling, dice)
        step = last**-power - (last + more) ** -power
        spread = ((falling - falling.mean()) ** 2).sum()
        found.append((slope * step, step / math.sqrt(spread), sse))
    gains, errors, misfits = np.array(found).T
    noise = max(NOISE, math.sqrt(misfits.min() / max(len(dice) - 2, 1)))
    weights = np.exp(-(misfits - misfits.min()) / (2 * noise**2))
    weights /= weights.sum()
    mean = float(weights @ gains)
    variance = float(weights @ ((noise * errors) ** 2 + (gains - mean) ** 2))
    return mean, math.sqrt(variance)


def _fit(falling: np.ndarray, dice: np.ndarray) -> tuple[float, float]:
    """``b`` and the sum of squared errors of ``dice = a - b falling``, with ``a <= 1`` and ``b >= 0``."""
    centred = falling - falling.mean()
    slope = max(0.0, -float(centred @ dice) / float(centred @ centred))
    level = dice.mean() + slope * falling.mean()
    if level > 1:
        level, slope = 1.0, max(0.0, float(falling @ (1 - dice)) / float(falling @ falling))
    return slope, float(((dice - level + slope * falling) ** 2).sum())


def _agreement(unsure: float | None, sure: float | None) -> str:
    if unsure is None:
        return ""
    words = f" On the unlabelled studies the model is unsure by {unsure:.3f}"
    return f"{words}." if sure is None else f"{words}, on the labelled ones by {sure:.3f}."
