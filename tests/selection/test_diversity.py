"""The greedy k-centre against its definition, tried out point by point."""

import numpy as np
import pytest

from lib.selection.diversity import k_centre


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
