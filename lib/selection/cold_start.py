"""The first studies, before any model: typical ones, spread over all there are.

With few labels, what is typical teaches more than what is doubtful (Hacohen, Dekel and Weinshall, "Active learning on a
budget: opposite strategies suit high and low budgets", ICML 2022: TypiClust). The studies fall into as many clusters as
there will be labelled ones; of a cluster that has none yet, the study in its densest part is taken. Ours: the features
(:mod:`lib.selection.features`), fewer of their directions by PCA, and a random thousand where there are more studies.
"""

from __future__ import annotations

import warnings

import numpy as np
from scipy.cluster.vq import kmeans2

warnings.filterwarnings("ignore", "One of the clusters is empty", UserWarning)  # then it has no study to offer

NEIGHBOURS = 20  # that density is judged by, as in the paper
CLUSTERS = 50  # at most, in the paper 500; later ones go to the clusters with the fewest labels
DIRECTIONS = 16
SAMPLE = 1000  # studies that are looked at: more would take longer than a reader waits


def typical(points: np.ndarray, labelled: np.ndarray, count: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Cluster all, then the densest study of each cluster that has no label yet, the largest cluster first.

    Args:
        points: ``(n, length)`` candidates. labelled: ``(m, length)``.

    Returns:
        ``count`` times (or n times) the place of a candidate and how many studies its cluster has.
    """
    together = np.concatenate([points, labelled])
    clusters = min(len(labelled) + count, CLUSTERS, len(np.unique(together, axis=0)))
    members = kmeans2(together, clusters, iter=10, minit="++", missing="warn", rng=rng)[1]
    sizes = np.bincount(members, minlength=clusters)
    taken = np.bincount(members[len(points) :], minlength=clusters)
    waiting = {cluster: _densest_first(points, members[: len(points)], cluster) for cluster in set(members.tolist())}
    picks: list[tuple[int, int]] = []
    while len(picks) < min(count, len(points)):
        cluster = min((key for key in waiting if waiting[key]), key=lambda key: (taken[key], -sizes[key], key))
        picks.append((waiting[cluster].pop(0), int(sizes[cluster])))
        taken[cluster] += 1
    return picks


def principal(points: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Each column at mean 0 and sd 1, times its weight; then the first principal components, ``(n, <= 16)``."""
    centred = points.astype(np.float64) - points.mean(0)
    spread = centred.std(0)
    scaled = centred / np.where(spread > 1e-9, spread, 1.0) * (1.0 if weights is None else weights)
    left, lengths, _ = np.linalg.svd(scaled, full_matrices=False)
    return np.asarray(left * lengths)[:, :DIRECTIONS]


def _densest_first(points: np.ndarray, members: np.ndarray, cluster: int) -> list[int]:
    """Places of the candidates in a cluster by their typicality: 1 / mean distance to the nearest 20 of them."""
    places = np.flatnonzero(members == cluster)
    own = points[places]
    squares = (own**2).sum(1)
    distances = np.sqrt(np.maximum(squares[:, None] - 2 * own @ own.T + squares, 0))
    nearest = np.sort(distances, axis=1)[:, 1 : NEIGHBOURS + 1]  # the first is the study itself
    order = nearest.mean(1).argsort(kind="stable") if nearest.shape[1] else np.arange(len(places))
    return [int(place) for place in places[order]]
