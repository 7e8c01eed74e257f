"""Studies unlike those that are labelled: the greedy k-centre of the core-set approach."""

from __future__ import annotations

import numpy as np


def k_centre(points: np.ndarray, centres: np.ndarray, count: int, start: int | None = None) -> list[tuple[int, float]]:
    """Take the point farthest from all centres, which makes it one; and so on.

    The greedy 2-approximation of the k-centre problem, as Sener and Savarese ("Active learning for convolutional neural
    networks: a core-set approach", ICLR 2018) choose what to label: every study is then near to a labelled one.

    Args:
        points: ``(n, length)``. centres: ``(m, length)``, what is labelled.
        start: the point to begin with where there are no centres; None: the one nearest to the mean of all.

    Returns:
        Up to ``count`` times the place of a point and its distance to the nearest centre, inf if there was none.
    """
    squares = (points**2).sum(1)
    nearest = np.full(len(points), np.inf)
    if len(centres):
        nearest = (squares[:, None] - 2 * points @ centres.T + (centres**2).sum(1)).min(1).astype(float)
    picks: list[tuple[int, float]] = []
    while len(picks) < min(count, len(points)):
        if picks or len(centres):
            best = int(nearest.argmax())
        else:
            best = int(((points - points.mean(0)) ** 2).sum(1).argmin()) if start is None else start
        picks.append((best, float(np.sqrt(max(nearest[best], 0.0)))))
        nearest = np.minimum(nearest, squares - 2 * points @ points[best] + squares[best])
        nearest[[place for place, _ in picks]] = -np.inf
    return picks
