"""The greedy k-centre and the draws of k-means++ against their definitions, tried out point by point."""

from collections import Counter

import numpy as np
import pytest
from scipy.cluster.vq import kmeans2

from lib.selection import diversity
from lib.selection.arrays import Table
from lib.selection.diversity import Remembered, k_centre, spread, to_nearest


def brute_force(points: np.ndarray, centres: list[np.ndarray], count: int) -> list[int]:
    picked: list[int] = []
    for _ in range(count):
        distances = [min(np.linalg.norm(point - centre) for centre in centres) for point in points]
        best = int(np.argmax([-1 if place in picked else distance for place, distance in enumerate(distances)]))
        picked.append(best)
        centres = [*centres, points[best]]
    return picked


@pytest.mark.parametrize("seed", range(5))
def test_each_pick_is_the_point_farthest_from_all_centres(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points, centres = rng.normal(size=(30, 4)), rng.normal(size=(3, 4))
    picks = k_centre(points, centres, 6)
    assert [place for place, _ in picks] == brute_force(points, list(centres), 6)
    nearest = [min(np.linalg.norm(points[picks[0][0]] - centre) for centre in centres)]
    assert picks[0][1] == pytest.approx(nearest[0])
    assert [d for _, d in picks] == sorted((d for _, d in picks), reverse=True)


def test_without_centres_it_begins_in_the_middle_or_where_it_is_told() -> None:
    points = np.array([[0.0], [4.0], [5.0], [12.0]])
    assert k_centre(points, np.empty((0, 1)), 2) == [(2, np.inf), (3, 7.0)]
    assert [place for place, _ in k_centre(points, np.empty((0, 1)), 2, start=3)] == [3, 0]


def test_points_are_taken_once_even_if_they_are_all_alike() -> None:
    picks = k_centre(np.ones((4, 2)), np.ones((1, 2)), 10)
    assert sorted(place for place, _ in picks) == [0, 1, 2, 3]
    assert [distance for _, distance in picks] == [0] * 4


def test_a_draw_is_the_likelier_the_farther_from_all_centres() -> None:
    points, centres = np.array([[1.0], [3.0], [9.0], [10.0]]), np.array([[0.0], [10.0]])
    squares = np.array([1.0, 9.0, 1.0, 0.0])
    drawn = Counter(spread(points, centres, 1, np.random.default_rng(seed))[0] for seed in range(1100))
    for place, square in enumerate(squares):
        expected = 1100 * square / squares.sum()
        assert abs(drawn[place, np.sqrt(square)] - expected) <= 4 * np.sqrt(expected)
    for seed in range(20):
        picks = dict(spread(points, centres, 2, np.random.default_rng(seed)))
        if 0 in picks and 1 in picks:  # each makes the other less far
            assert sorted(picks.values()) in ([1.0, 2.0], [1.0, 3.0])


def test_draws_take_each_point_once_and_begin_where_they_are_told() -> None:
    rng = np.random.default_rng(0)
    assert sorted(place for place, _ in spread(np.ones((4, 2)), np.ones((1, 2)), 10, rng)) == [0, 1, 2, 3]
    assert sorted(place for place, _ in spread(np.ones((4, 2)), np.empty((0, 2)), 10, rng)) == [0, 1, 2, 3]
    points = np.array([[0.0], [4.0], [5.0], [12.0]])
    assert spread(points, np.empty((0, 1)), 1, rng, start=2) == [(2, np.inf)]
    assert {spread(points, np.empty((0, 1)), 1, rng)[0][0] for _ in range(50)} == {0, 1, 2, 3}


@pytest.mark.parametrize("seed", range(3))
def test_draws_begin_clusters_where_scipy_does(seed: int) -> None:
    points = np.random.default_rng(9).normal(size=(95, 3)) + 20 * np.arange(95)[:, None].clip(40, 80)
    theirs = kmeans2(points, 6, iter=3, minit="++", rng=np.random.default_rng(seed))
    start = [place for place, _ in spread(points, points[:0], 6, np.random.default_rng(seed))]
    ours = kmeans2(points, points[start], iter=3, minit="matrix")
    np.testing.assert_array_equal(ours[0], theirs[0])
    np.testing.assert_array_equal(ours[1], theirs[1])


def distances(table: Table, centres: list[str]) -> list[float]:
    """Squared, from the definition; NaN has none, nor is anything near to it."""
    places = [table.places[study] for study in centres if study in table.places]
    near = [table.values[place] for place in places if not np.isnan(table.values[place]).any()]
    return [min((float(((row - centre) ** 2).sum()) for centre in near), default=np.inf) for row in table.values]


def table_of(size: int, seed: int = 0) -> Table:
    values = np.random.default_rng(seed).normal(size=(size, 5)).astype(np.float32)
    values[3] = np.nan
    return Table({f"{number}": number for number in range(size)}, values)


def test_remembered_distances_are_those_of_the_moment_whatever_came_before() -> None:
    table, other, newer = table_of(200), table_of(150, seed=1), table_of(200, seed=2)
    many = [f"{number}" for number in range(0, 200, 2)]
    steps: list[tuple[Table, list[str]]] = [
        (table, []),
        (table, ["5"]),  # measured, not remembered
        (table, ["3", "not there"]),  # neither has a vector
        (table, many),  # remembered from here on
        (table, [*many, "7"]),
        (table, many[5:]),  # some are gone
        (table, [*many[5:], *map(str, range(1, 100, 2))]),
        (other, many[:50]),  # another model
        (table, many),
        (newer, many),  # the same studies, by another model
    ]
    remembered = Remembered()
    for at, centres in steps:
        found = remembered.nearest(at, centres)
        expected = np.array(distances(at, centres))
        has = np.arange(len(expected)) != 3
        np.testing.assert_allclose(found[has], expected[has], rtol=1e-4, atol=1e-4)
        assert np.isnan(found[3])
        np.testing.assert_array_equal(found, Remembered().nearest(at, centres))  # so a choice can be replayed


def test_of_many_labels_only_the_new_ones_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    table, remembered, measured = table_of(300), Remembered(), []
    monkeypatch.setattr(
        diversity, "to_nearest", lambda points, centres: measured.append(len(centres)) or to_nearest(points, centres)
    )
    labelled = [f"{number}" for number in range(100, 200)]
    leases = [["1"], ["2"], []]  # of other readers: they differ from reader to reader
    for leased in leases * 2:
        remembered.nearest(table, [*labelled, *leased])
    assert measured == [0, 101, 100, 1, 1, 1], "once with a lease among them, once without, then only the leases"
