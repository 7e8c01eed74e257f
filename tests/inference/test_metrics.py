"""Dice and HD95 against values computed by hand."""

import math

import numpy as np
import pytest

from lib.inference.metrics import dice, hd95, mean_and_missed


def cube(*start: int, side: int = 4, value: int = 1) -> np.ndarray:
    """A cube of ``side`` voxels in an otherwise empty label of 16 x 16 x 16."""
    label = np.zeros((16, 16, 16), np.uint8)
    label[tuple(slice(low, low + side) for low in start)] = value
    return label


def test_equal_labels_agree_fully() -> None:
    assert dice(cube(2, 2, 2), cube(2, 2, 2), [1]) == {1: 1.0}
    assert hd95(cube(2, 2, 2), cube(2, 2, 2), [1], (1, 1, 1)) == {1: 0.0}


@pytest.mark.parametrize("shift", [0, 1, 2, 3, 4, 7])
def test_dice_of_a_shifted_cube_is_its_overlap(shift: int) -> None:
    overlap = max(0, 4 - shift) / 4  # of each cube's 64 voxels
    assert dice(cube(2 + shift, 2, 2), cube(2, 2, 2), [1])[1] == pytest.approx(overlap)


@pytest.mark.parametrize(("axis", "spacing"), [(0, 0.5), (1, 2.0), (2, 3.0)])
def test_hd95_of_a_shifted_cube_is_the_shift_in_mm(axis: int, spacing: float) -> None:
    start = [2, 2, 2]
    start[axis] += 2
    # The far face, 16 of the 56 surface voxels and so more than 5 % of them, is two voxels from the other cube.
    assert hd95(cube(*start), cube(2, 2, 2), [1], (0.5, 2.0, 3.0))[1] == pytest.approx(2 * spacing)


def test_hd95_is_the_95th_percentile_of_the_surface() -> None:
    line, longer = np.zeros((40, 3, 3), np.uint8), np.zeros((40, 3, 3), np.uint8)
    line[0:20, 1, 1] = 1
    longer[0:22, 1, 1] = 1
    # From the longer line: 20 distances of 0, then 1 and 2 voxels; rank 0.95 * 21 = 19.95 lies between 0 and 1.
    for pair in ((longer, line), (line, longer)):  # the larger direction counts, whichever is first
        assert hd95(*pair, [1], (2, 1, 1))[1] == pytest.approx(0.95 * 2, rel=1e-5)


def test_surface_of_a_structure_cut_by_the_images_border_counts() -> None:
    # Half of the image against the whole: the face at the border is 8 voxels off.
    half, whole = np.zeros((16, 4, 4), np.uint8), np.ones((16, 4, 4), np.uint8)
    half[:8] = 1
    assert hd95(half, whole, [1], (1, 1, 1))[1] == pytest.approx(8)


def test_classes_are_compared_by_value_each_for_itself() -> None:
    prediction = np.maximum(cube(1, 1, 1), cube(9, 9, 9, value=7))
    reference = np.maximum(cube(1, 1, 1), cube(9, 9, 11, value=7))
    assert dice(prediction, reference, (1, 7)) == {1: 1.0, 7: 0.5}
    assert hd95(prediction, reference, (1, 7), (1, 1, 1)) == {1: 0.0, 7: 2.0}


def test_absent_in_both_is_agreement() -> None:
    assert dice(cube(2, 2, 2), cube(2, 2, 2), [3]) == {3: 1.0}
    assert hd95(cube(2, 2, 2), cube(2, 2, 2), [3], (1, 1, 1)) == {3: 0.0}


def test_absent_in_one_is_a_miss_without_a_distance() -> None:
    empty = np.zeros((16, 16, 16), np.uint8)
    for pair in ((empty, cube(2, 2, 2)), (cube(2, 2, 2), empty)):
        assert dice(*pair, [1]) == {1: 0.0}
        assert math.isnan(hd95(*pair, [1], (1, 1, 1))[1])


def test_misses_are_counted_and_leave_the_mean() -> None:
    assert mean_and_missed([2.0, math.nan, 4.0, math.nan]) == (3.0, 2)
    mean, missed = mean_and_missed([math.nan])
    assert math.isnan(mean)
    assert missed == 1


def test_other_shape_is_refused_even_where_numpy_would_broadcast() -> None:
    for metric in (lambda p, r: dice(p, r, [1]), lambda p, r: hd95(p, r, [1], (1, 1, 1))):
        with pytest.raises(ValueError, match="cannot be compared"):
            metric(cube(2, 2, 2), cube(2, 2, 2)[:1])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_distance_in_a_single_slice_is_that_of_the_outlines(axis: int) -> None:
    """Taken for a volume, all of a slice would be surface, and a hole of one pixel in a square next to nothing."""
    small, large = np.zeros((2, 24, 24), np.uint8)
    small[8:16, 8:16], large[5:19, 5:19] = 1, 1
    spacing = [2.0, 2.0]
    spacing.insert(axis, 50.0)
    found = hd95(np.expand_dims(small, axis), np.expand_dims(large, axis), [1], spacing)[1]
    corner = 2 * 3 * 2**0.5
    assert 2 * 3 <= found <= corner
    holed = large.copy()
    holed[12, 12] = 0  # 52 pixels of the outer outline, 4 of the inner one that are 5 or 6 pixels off it
    assert hd95(np.expand_dims(large, axis), np.expand_dims(holed, axis), [1], spacing)[1] >= 2 * 5
