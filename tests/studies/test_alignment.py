"""Grids in space: a landmark is at the same place whichever grid it is seen on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lib.errors import StudyError
from lib.studies.alignment import label_on, on_grid, overlap
from lib.studies.labels import LabelMap
from lib.studies.modalities import project_cases
from lib.studies.phantom_patients import write_patients
from lib.studies.reading import read_image

LABELS = LabelMap({1: "organ", 2: "lesion"})


def turned(degrees: float, spacing: tuple[float, float, float], origin: tuple[float, float, float]) -> np.ndarray:
    angle = np.deg2rad(degrees)
    affine = np.eye(4)
    affine[:3, :3] = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    ) @ np.diag(spacing)
    affine[:3, 3] = origin
    return affine


def in_mm(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Places (3, *shape) of the voxels."""
    index = np.stack([*np.meshgrid(*map(np.arange, shape), indexing="ij"), np.ones(shape)])
    return np.tensordot(affine, index, 1)[:3]


def test_a_linear_field_keeps_its_values_at_their_places() -> None:
    """Linear interpolation is exact on a linear function of the place in mm, whatever the two grids."""
    source, target = turned(20, (2, 1.5, 3), (-30, -20, -30)), turned(-10, (1, 2, 1), (-5, -5, -5))
    weights = np.array([1.0, -2.0, 0.5])
    field = np.tensordot(weights, in_mm(source, (40, 40, 25)), 1).astype(np.float32)
    found = on_grid(field, source, (12, 8, 9), target)
    np.testing.assert_allclose(found, np.tensordot(weights, in_mm(target, (12, 8, 9)), 1), atol=1e-3)


def test_outside_is_the_lowest_value_and_the_same_grid_is_left_alone() -> None:
    volume = np.random.default_rng(0).normal(size=(6, 6, 6)).astype(np.float32)
    here = np.eye(4)
    assert on_grid(volume, here, (6, 6, 6), here + 1e-3 * np.eye(4, k=3)) is volume
    far = turned(0, (1, 1, 1), (4, 0, 0))
    found = on_grid(volume, here, (6, 6, 6), far)
    np.testing.assert_allclose(found[:2], volume[4:], atol=1e-6)
    assert (found[3:] == volume.min()).all()
    assert (on_grid(volume, here, (6, 6, 6), far, outside=7.0)[3:] == 7.0).all()


def test_overlap_is_the_share_of_the_smaller_grid() -> None:
    large, small = ((40, 40, 40), np.eye(4)), ((10, 10, 10), turned(0, (1, 1, 1), (5, 5, 5)))
    assert overlap(large, small) == overlap(small, large) == 1.0
    half = ((10, 10, 10), turned(0, (1, 1, 1), (-5, 5, 5)))
    assert overlap(large, half) == pytest.approx(0.5)
    assert overlap(large, ((10, 10, 10), turned(0, (1, 1, 1), (500, 0, 0)))) == 0.0


def test_a_label_reaches_the_grid_of_another_series(tmp_path: Path) -> None:
    write_patients(tmp_path, 1, 1)
    case = project_cases(tmp_path, ("ct", "mr"))[0]
    mr = case.modalities["mr"]
    centres = []
    for file in (case.image, mr):
        image, affine = read_image(file)
        label = label_on(case, file, LABELS, image.shape[1:], affine)
        assert label.dtype == np.uint8
        assert label.shape == image.shape[1:]
        assert set(np.unique(label)) == {0, 1, 2}
        centres.append(in_mm(affine, label.shape)[:, label > 0].mean(axis=1))
    np.testing.assert_allclose(centres[0], centres[1], atol=1.0)  # of voxels of 3 x 3 x 5 mm
    with pytest.raises(StudyError, match="no label"):
        label_on(project_cases(tmp_path, ("mr",))[0], mr, LABELS, (1, 1, 1), np.eye(4))
