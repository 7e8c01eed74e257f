"""A label of another grid lands on the same place in the patient, or is refused."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from lib.errors import StudyError
from lib.studies.regrid import onto_grid

SHAPE = (20, 16, 12)
AFFINE = np.array([[2.0, 0, 0, -11], [0, 2.0, 0, 7], [0, 0, 3.0, -30], [0, 0, 0, 1]])


def drawn(shape: tuple[int, ...], affine: NDArray) -> NDArray[np.uint8]:
    """Two boxes by their place in mm, on any grid: the oracle, which resampling has to find again."""
    voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    world = voxels @ affine[:3, :3].T + affine[:3, 3]
    label = np.zeros(shape, dtype=np.uint8)
    label[((world > (-4, 12, -24)) & (world < (9, 30, -3))).all(-1)] = 1
    label[((world > (-1, 16, -18)) & (world < (4, 24, -9))).all(-1)] = 2
    return label


def crop(start: tuple[int, int, int]) -> NDArray:
    moved = AFFINE.copy()
    moved[:3, 3] = AFFINE[:3, :3] @ start + AFFINE[:3, 3]
    return moved


def flipped(axis: int, size: int) -> NDArray:
    turn = np.eye(4)
    turn[axis, axis], turn[axis, 3] = -1, size - 1
    return AFFINE @ turn


@pytest.mark.parametrize(
    ("shape", "affine"),
    [
        ((18, 14, 11), crop((1, 1, 1))),
        (SHAPE, flipped(0, 20)),
        (SHAPE, flipped(2, 12)),
        ((12, 20, 16), AFFINE[:, [2, 0, 1, 3]]),
        ((24, 20, 16), crop((-2, -2, -2))),
    ],
    ids=["crop", "left and right", "feet first", "other order of the axes", "larger"],
)
def test_voxels_of_the_same_grid_elsewhere_keep_every_value(shape: tuple[int, int, int], affine: NDArray) -> None:
    found = onto_grid("study", drawn(shape, affine), affine, SHAPE, AFFINE)
    assert found is not None
    assert np.array_equal(found[0], drawn(SHAPE, AFFINE))
    assert found[0].dtype == np.uint8
    assert found[1].startswith(f"Resampled from {' x '.join(map(str, shape))} voxels")
    assert "outside" not in found[1]


def test_a_finer_grid_is_the_drawing_but_for_its_edge() -> None:
    fine = AFFINE @ np.diag([0.5, 0.5, 0.5, 1])
    found = onto_grid("study", drawn((40, 32, 24), fine), fine, SHAPE, AFFINE)
    assert found is not None
    assert (found[0] == drawn(SHAPE, AFFINE)).mean() > 0.99
    assert set(np.unique(found[0])) == {0, 1, 2}


def test_the_grid_itself_is_left_alone() -> None:
    label = drawn(SHAPE, AFFINE)
    assert onto_grid("study", label, AFFINE, SHAPE, AFFINE) is None
    assert onto_grid("study", label, AFFINE + np.eye(4, k=3) * 0.05, SHAPE, AFFINE) is None


def test_what_lies_outside_of_the_image_is_said() -> None:
    label = drawn(SHAPE, AFFINE)
    found = onto_grid("study", label, AFFINE, (20, 16, 7), AFFINE)
    assert found is not None
    marked = np.argwhere(label)
    share = (marked[:, 2] >= 7).mean()
    assert f"{share:.1%} of what it marks lay outside" in found[1]
    assert np.array_equal(found[0], label[:, :, :7])


def test_an_empty_label_of_another_grid_stays_empty() -> None:
    found = onto_grid("study", np.zeros((10, 8, 6), np.uint8), AFFINE @ np.diag([2.0, 2, 2, 1]), SHAPE, AFFINE)
    assert found is not None
    assert not found[0].any()


@pytest.mark.parametrize(
    ("shape", "affine", "words"),
    [
        (SHAPE, AFFINE + np.eye(4, k=3) * 20, "elsewhere in space"),  # as many voxels: the place was lost
        (SHAPE, np.eye(4), "elsewhere in space"),
        (SHAPE, AFFINE @ np.diag([1, 1, 2.0, 1]), "elsewhere in space"),
        ((18, 14, 11), AFFINE + np.eye(4, k=3) * 400, "holds 0% of what it marks"),
    ],
    ids=["moved", "no place", "other spacing", "far away"],
)
def test_labels_of_other_places_are_refused(shape: tuple[int, int, int], affine: NDArray, words: str) -> None:
    label = np.zeros(shape, dtype=np.uint8)
    label[5:9, 5:9, 4:8] = 1
    with pytest.raises(StudyError, match=f"Study 'study'.*{words}"):
        onto_grid("study", label, affine, SHAPE, AFFINE)


def test_a_label_of_which_nothing_is_left_is_refused() -> None:
    thin = np.zeros((80, 64, 48), dtype=np.uint8)
    thin[41, 33, 21] = 1  # between the voxels of the image
    with pytest.raises(StudyError, match="too coarse"):
        onto_grid("study", thin, AFFINE @ np.diag([0.25, 0.25, 0.25, 1]), SHAPE, AFFINE)
