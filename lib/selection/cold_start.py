"""The first studies, before any model: typical ones, spread over all there are.

With few labels, what is typical teaches more than what is doubtful (Hacohen, Dekel and Weinshall, "Active learning on a
budget: opposite strategies suit high and low budgets", ICML 2022: TypiClust). The studies fall into as many clusters as
there will be labelled ones; of a cluster that has none yet, the study in its densest part is taken. Ours: the features
(:mod:`lib.selection.features`), fewer of their directions by PCA, and a random thousand where there are more studies.
"""

from __future__ import annotations

import warnings

import numpy as np
from scipy.cluster import vq
from scipy.linalg import eigh

from lib.selection.diversity import spread

warnings.filterwarnings("ignore", "One of the clusters is empty", UserWarning)  # then it has no study to offer

NEIGHBOURS = 20  # that density is judged by, as in the paper
CLUSTERS = 50  # at most, in the paper 500; later ones go to the clusters with the fewest labels
SMALLEST = 5  # studies of a cluster, as in the authors' program: smaller ones are odd studies, which come last
DIRECTIONS = 16
SAMPLE = 1000  # studies that are looked at: more would take longer than a reader waits


def typical(points: np.ndarray, labelled: np.ndarray, count: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Cluster all, then the densest study of each cluster that has no label yet, the largest cluster first.

    Clusters of fewer than :data:`SMALLEST` come when nothing else is left.

    Args:
        points: ``(n, length)`` candidates. labelled: ``(m, length)``.

    Returns:
        ``count`` times (or n times) the place of a candidate and how many studies its cluster has.
    """
    together = np.concatenate([points, labelled])
    clusters = min(len(labelled) + count, CLUSTERS, len(np.unique(together, axis=0)))
    start = [place for place, _ in spread(together, together[:0], clusters, rng)]
    members = vq.kmeans2(together, together[start], iter=10, minit="matrix", missing="warn")[1]
    sizes = np.bincount(members, minlength=clusters)
    taken = np.bincount(members[len(points) :], minlength=clusters)
    left = np.bincount(members[: len(points)], minlength=clusters)
    waiting: dict[int, list[int]] = {}  # filled as clusters are chosen from: most never are
    picks: list[tuple[int, int]] = []
    while len(picks) < min(count, len(points)):
        order = np.lexsort((-sizes, taken, sizes < SMALLEST))
        cluster = int(order[left[order] > 0][0])
        if cluster not in waiting:
            waiting[cluster] = _densest_first(points, members[: len(points)], cluster)
        picks.append((waiting[cluster].pop(0), int(sizes[cluster])))
        taken[cluster] += 1
        left[cluster] -= 1
    return picks


def principal(points: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Each column at mean 0 and sd 1, times its weight; then the first principal components, ``(n, <= 16)``."""
    centred = points.astype(np.float64)
    centred -= centred.mean(0)
    products = centred.T @ centred
    spread = np.sqrt(np.diag(products) / max(len(points), 1))
    scale = 1.0 / np.where(spread > 1e-9, spread, 1.0) * (1.0 if weights is None else weights)
    first = max(0, len(scale) - DIRECTIONS)
    # by ascending variance; an SVD of the points themselves would take ten times as long
    _, directions = eigh(products * np.outer(scale, scale), subset_by_index=(first, len(scale) - 1))
    return np.asarray(centred @ (directions[:, ::-1] * scale[:, None]))


def _densest_first(points: np.ndarray, members: np.ndarray, cluster: int) -> list[int]:
    """Places of the candidates in a cluster by their typicality: 1 / mean distance to the nearest 20 of them."""
    places = np.flatnonzero(members == cluster)
    own = points[places]
    squares = (own**2).sum(1)
    distances = np.sqrt(np.maximum(squares[:, None] - 2 * own @ own.T + squares, 0))
    nearest = np.sort(distances, axis=1)[:, 1 : NEIGHBOURS + 1]  # the first is the study itself
    order = nearest.mean(1).argsort(kind="stable") if nearest.shape[1] else np.arange(len(places))
    return [int(place) for place in places[order]]
