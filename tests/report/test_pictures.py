"""Which cases are drawn, on which slice, and that pictures, volumes and slices of any axis can be."""

from __future__ import annotations

import numpy as np
import pytest

from lib.report.pictures import disagreement, in_view, worst_and_median


def test_worst_and_median_by_dice() -> None:
    means = {"a": 0.9, "b": 0.2, "c": 0.5, "d": 0.7, "e": 0.6}
    assert worst_and_median(means) == {"b": "worst", "e": "median"}
    assert worst_and_median({"a": 0.9, "b": 0.2, "c": 0.5, "d": 0.7}) == {"b": "worst", "c": "median"}
    assert worst_and_median({"a": 0.9}) == {"a": "worst"}
    assert worst_and_median({}) == {}


def test_the_slice_with_most_wrong_voxels_of_any_kind() -> None:
    truth, found = np.zeros((2, 4, 4, 5), np.uint8)
    truth[:, :, 1], found[:2, :, 1] = 1, 1  # 8 missed
    found[:3, :3, 3] = 2  # 9 too many
    assert disagreement(truth, found) == 3
    assert disagreement(truth, truth) == 1, "nothing is wrong: where most of the label is"


@pytest.mark.parametrize(("slices", "order"), [(None, (0, 1, 2)), (0, (1, 2, 0)), (1, (0, 2, 1)), (2, (0, 1, 2))])
def test_slices_are_seen_across_their_axis_in_ras(slices: int | None, order: tuple[int, ...]) -> None:
    """Of a file whose axes are A, L, S: its RAS array is swapped and flipped."""
    affine = np.array([[0, -2.0, 0, 0], [1.0, 0, 0, 0], [0, 0, 3.0, 0], [0, 0, 0, 1]])
    array = np.arange(24).reshape(2, 3, 4)
    turned, spacing = in_view(affine, slices)
    ras = array.transpose(1, 0, 2)[::-1]
    assert (turned(array) == ras.transpose(order)).all()
    assert spacing == tuple((2.0, 1.0, 3.0)[axis] for axis in order)
    coloured = np.stack([array] * 3, axis=-1)
    assert turned(coloured).shape == (*turned(array).shape, 3)
