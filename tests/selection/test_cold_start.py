"""Clusters, density and components on points whose groups are known."""

import numpy as np
import pytest

from lib.selection import cold_start
from lib.selection.cold_start import principal, typical


def blobs(*sizes: int) -> np.ndarray:
    """Groups of so many points around (20 k, 0, 0)."""
    rng = np.random.default_rng(0)
    return np.concatenate([np.array([20.0 * k, 0, 0]) + rng.normal(size=(n, 3)) for k, n in enumerate(sizes)])


def densest(points: np.ndarray, neighbours: int) -> int:
    """The point whose nearest neighbours are nearest on average, one by one."""
    means = [np.mean(sorted(np.linalg.norm(points - point, axis=1))[1 : neighbours + 1]) for point in points]
    return int(np.argmin(means))


def test_the_densest_point_of_each_cluster_the_largest_first() -> None:
    points = blobs(30, 50, 10)
    groups = {50: slice(30, 80), 30: slice(0, 30), 10: slice(80, 90)}
    expected = [(own.start + densest(points[own], 20), size) for size, own in groups.items()]
    for seed in range(5):
        assert typical(points, np.empty((0, 3)), 3, np.random.default_rng(seed)) == expected


def test_density_is_that_of_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.concatenate([blobs(40), np.full((3, 3), 8.0) + 0.001 * np.eye(3)])  # far out, but close together
    one = np.empty((0, 3))
    assert typical(points, one, 1, np.random.default_rng(0)) == [(densest(points, 20), 43)]
    monkeypatch.setattr(cold_start, "NEIGHBOURS", 2)
    assert typical(points, one, 1, np.random.default_rng(0))[0][0] >= 40


def test_clusters_with_labels_come_after_those_without() -> None:
    points = blobs(30, 50, 10)
    labelled = points[[31, 81]] + 0.01
    assert typical(points, labelled, 1, np.random.default_rng(0)) == [(densest(points[:30], 20), 30)]


def test_a_few_odd_studies_are_no_cluster_to_begin_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cold_start, "CLUSTERS", 3)
    points = blobs(20, 4, 12)
    picks = [place for place, _ in typical(points, np.empty((0, 3)), 36, np.random.default_rng(0))]
    odd = {20, 21, 22, 23}
    assert set(picks[-4:]) == odd
    assert [place < 20 for place in picks[:4]] == [True, False] * 2


def test_more_than_there_are_clusters_or_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cold_start, "CLUSTERS", 2)
    points = blobs(5, 7)
    picks = typical(points, np.empty((0, 3)), 99, np.random.default_rng(0))
    assert sorted(place for place, _ in picks) == list(range(12))
    assert [place < 5 for place, _ in picks[:6]] == [False, True] * 3, "turn by turn"
    alike = typical(np.ones((3, 2)), np.ones((2, 2)), 3, np.random.default_rng(0))
    assert sorted(place for place, _ in alike) == [0, 1, 2]


def test_principal_components_keep_distances_where_few_directions_matter() -> None:
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(50, 4))
    points = hidden @ rng.normal(size=(4, 200)) + 5
    standard = (points - points.mean(0)) / points.std(0)
    found = principal(points)
    assert found.shape == (50, cold_start.DIRECTIONS)
    for one, other in ((0, 1), (3, 40)):
        expected = np.linalg.norm(standard[one] - standard[other])
        assert np.linalg.norm(found[one] - found[other]) == pytest.approx(expected)
    eigenvalues = np.sort(np.linalg.eigvalsh(standard.T @ standard))[::-1][:4]
    np.testing.assert_allclose((found**2).sum(0)[:4], eigenvalues)


def test_weights_scale_columns_and_constant_ones_say_nothing() -> None:
    points = np.random.default_rng(0).normal(size=(20, 2))
    with_constant = np.column_stack([points, np.full(20, 3.0)])
    one, other = principal(with_constant), principal(points)
    np.testing.assert_allclose((one**2).sum(1), (other**2).sum(1))
    first = principal(points, np.array([2.0, 0.0]))
    standard = (points[:, 0] - points[:, 0].mean()) / points[:, 0].std()
    np.testing.assert_allclose(np.abs(first[:, 0]), np.abs(2 * standard))
