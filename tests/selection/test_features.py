"""What the self-made features tell apart, and what they do not see."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from lib.errors import StudyError
from lib.selection.features import BLOCKS, LEVELS, study_features, weights

SHAPE, SPACING = (18, 12, 6), (1.0, 1.5, 3.0)


def write(path: Path, array: np.ndarray, axes: str = "RAS") -> np.ndarray:
    """Write it in another orientation, and take its features."""
    image = nib.Nifti1Image(array.astype(np.float32), np.diag([*SPACING, 1.0]))
    turn = nib.orientations.axcodes2ornt(axes)
    nib.save(image.as_reoriented(nib.orientations.ornt_transform(nib.orientations.io_orientation(image.affine), turn)),
             path)  # fmt: skip
    return study_features(path)


@pytest.fixture
def array() -> np.ndarray:
    return np.random.default_rng(0).gamma(2.0, 100.0, SHAPE)


def test_they_are_quantiles_edges_and_thumbnail(tmp_path: Path, array: np.ndarray) -> None:
    array[:9] = 0.0  # dark, so not of the body
    found = write(tmp_path / "a.nii.gz", array)
    assert (found.shape, found.dtype) == ((234,), np.float32)
    body = array[9:][array[9:] > 0]
    normal = (array - body.mean()) / body.std()
    np.testing.assert_allclose(found[:15], np.quantile(normal[9:], LEVELS), atol=0.02)
    np.testing.assert_allclose(found[15:18], np.log([18, 18, 18]), atol=1e-5)
    cells = normal.reshape(6, 3, 6, 2, 6, 1).mean((1, 3, 5))
    np.testing.assert_allclose(found[18:], cells.ravel(), atol=1e-4)


def test_neither_the_orientation_nor_the_unit_matters(tmp_path: Path, array: np.ndarray) -> None:
    found = write(tmp_path / "a.nii.gz", array)
    np.testing.assert_allclose(write(tmp_path / "b.nii.gz", array, "LPS"), found, atol=1e-4)
    np.testing.assert_allclose(write(tmp_path / "c.nii.gz", array, "SAR"), found, atol=1e-4)
    np.testing.assert_allclose(write(tmp_path / "d.nii.gz", 7 * array - 1000), found, atol=1e-3)


def test_even_and_broken_images(tmp_path: Path, array: np.ndarray) -> None:
    assert np.isfinite(write(tmp_path / "even.nii.gz", np.full(SHAPE, 5.0))).all()
    array[0, 0, 0] = np.nan
    assert np.isfinite(write(tmp_path / "hole.nii.gz", array)).all()
    with pytest.raises(StudyError, match="'none'"):
        write(tmp_path / "none.nii.gz", np.full(SHAPE, np.nan))
    (tmp_path / "broken.nii.gz").write_bytes(b"no image")
    with pytest.raises(StudyError, match="'broken'"):
        study_features(tmp_path / "broken.nii.gz")


def test_a_picture_has_as_many(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found = study_features(tmp_path / "a.png")
    assert found.shape == (234,)
    assert np.isfinite(found).all()


def test_the_three_kinds_weigh_alike() -> None:
    assert len(weights()) == sum(BLOCKS) == 234
    for block in np.split(weights() ** 2, np.cumsum(BLOCKS)[:-1]):
        assert block.sum() == pytest.approx(1)
