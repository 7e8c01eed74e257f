"""Studies unlike those that are labelled: the farthest (core-set), or drawn, the farther the likelier (k-means++)."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
from scipy.spatial.distance import cdist

from lib.selection.arrays import Table

BLOCK = 64  # rows that are measured at a time, always as many: a sum then has the same rounding whatever came before
FEW = 16  # rows that are measured at each choice rather than remembered


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
    nearest = to_nearest(points, centres)
    picks: list[tuple[int, float]] = []
    while len(picks) < min(count, len(points)):
        if picks or len(centres):
            best = int(nearest.argmax())
        else:
            best = int(((points - points.mean(0)) ** 2).sum(1).argmin()) if start is None else start
        picks.append((best, float(np.sqrt(max(nearest[best], 0.0)))))
        if len(picks) < count:
            nearest = np.minimum(nearest, to_nearest(points, points[best : best + 1]))
            nearest[[place for place, _ in picks]] = -np.inf
    return picks


def spread(
    points: np.ndarray, centres: np.ndarray, count: int, rng: np.random.Generator, start: int | None = None
) -> list[tuple[int, float]]:
    """Draw a point with a chance proportional to its squared distance to the nearest centre, which makes it one; etc.

    The start of k-means++ (Arthur and Vassilvitskii, SODA 2007), by which Ash et al. (BADGE, ICLR 2020) choose what to
    label: points far from all others are likely, but unlike in :func:`k_centre` not the first to be taken. The same
    draws as scipy's, which measures all distances anew for each point.

    Args, returns: see :func:`k_centre`; start None: any point.
    """
    nearest = cdist(points, centres, "sqeuclidean").min(1) if len(centres) else np.full(len(points), np.inf)
    picks: list[tuple[int, float]] = []
    left = np.ones(len(points), dtype=bool)
    while len(picks) < min(count, len(points)):
        if np.isinf(nearest).all():
            best = int(rng.integers(len(points))) if start is None else start
        elif nearest.any():
            chances = nearest.cumsum()
            best = int(np.searchsorted(chances, rng.uniform() * chances[-1]))
        else:
            best = int(left.argmax())  # those that are left lie on centres
        picks.append((best, float(np.sqrt(nearest[best]))))
        left[best] = False
        nearest = np.minimum(nearest, cdist(points[best : best + 1], points, "sqeuclidean")[0])
    return picks


def to_nearest(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Squared distance of each point ``(n, length)`` to the nearest centre ``(m, length)``, inf if there is none.

    NaN where the point has NaN.
    """
    nearest = np.full(len(points), np.inf, dtype=points.dtype)
    for first in range(0, len(centres), BLOCK):
        some = centres[first : first + BLOCK]
        block = np.concatenate([some, np.repeat(some[:1], BLOCK - len(some), axis=0)])
        products = points @ block.T
        products *= -2
        products += np.einsum("ij,ij->i", block, block)
        np.minimum(nearest, products.min(1), out=nearest)
    return np.asarray(nearest + np.einsum("ij,ij->i", points, points))


class Remembered:
    """How far each row of a table is from the nearest of some of its rows, remembered from one choice to the next.

    In between a few labels are added, and leases come and go: those are measured each time. All the others, hundreds
    against ten thousand, would take longer than a reader should wait. Threads may share it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._table: Table | None = None
        self._base: frozenset[int] = frozenset()
        self._nearest = np.empty(0)

    def nearest(self, table: Table, centres: Sequence[str]) -> np.ndarray:
        """Squared distances of all rows ``(N,)`` to the nearest of these studies that has a vector, inf if none has."""
        rows = table.rows(centres)
        rows = rows[rows >= 0]
        wanted = frozenset(rows[~np.isnan(table.values[rows]).any(1)].tolist())
        with self._lock:
            if self._table is not table:
                self._remember(table, frozenset())
            if not self._base <= wanted:
                self._remember(table, self._base & wanted)  # a lease that was in the base has ended: it stays out
            if len(wanted - self._base) > FEW:
                self._remember(table, wanted)
            rest = sorted(wanted - self._base)
            return np.minimum(self._nearest, to_nearest(table.values, table.values[rest])) if rest else self._nearest

    def _remember(self, table: Table, base: frozenset[int]) -> None:
        if self._table is table and self._base <= base:
            new = to_nearest(table.values, table.values[sorted(base - self._base)])
            self._nearest = np.minimum(self._nearest, new)
        else:
            self._nearest = to_nearest(table.values, table.values[sorted(base)])
        self._table, self._base = table, base
