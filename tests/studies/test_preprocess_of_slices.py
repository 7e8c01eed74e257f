"""The pipeline in dimension 2: slices keep their places, pictures their pixels, colours their relations."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from lib.studies.pictures import to_luminance
from lib.studies.plan import Plan
from lib.studies.preprocess import Preprocess

COLUMNS, ROWS = 30, 20


def pipeline(channels: int = 3, spacing: tuple[float, ...] = (1.0, 1.0, 1.0)) -> Preprocess:
    return Preprocess(Plan(spacing, "picture", (16, 16, 1), dimension=2, channels=channels))


def pixels(seed: int = 0, channels: int = 3) -> np.ndarray:
    """(rows, columns, channels)"""
    return np.random.default_rng(seed).integers(0, 256, (ROWS, COLUMNS, channels), dtype=np.uint8)


def write(path: Path, values: np.ndarray) -> Path:
    Image.fromarray(values.squeeze()).save(path)
    return path


def standardised(values: np.ndarray) -> np.ndarray:
    clipped = np.clip(values.astype(np.float64), *np.percentile(values, (0.5, 99.5)))
    return (clipped - clipped.mean()) / clipped.std()


def test_a_picture_is_scaled_over_all_its_colours_together(tmp_path: Path) -> None:
    found, geometry = pipeline().image(write(tmp_path / "a.png", pixels()))
    expected = standardised(pixels())[::-1, ::-1].transpose(2, 1, 0)[..., None]  # RAS: right is the first column's end
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert geometry.shape == geometry.size == (COLUMNS, ROWS, 1)
    assert geometry.spacing == (1, 1, 1)
    assert geometry.notes == ()


def test_grey_among_colours_is_repeated_and_a_colour_among_grey_is_its_luminance(tmp_path: Path) -> None:
    grey, geometry = pipeline(3).image(write(tmp_path / "grey.png", pixels(channels=1)))
    assert grey.shape == (3, COLUMNS, ROWS, 1)
    assert np.array_equal(grey[0], grey[1])
    assert np.array_equal(grey[0], grey[2])
    assert geometry.notes == ()
    found, geometry = pipeline(1).image(write(tmp_path / "colour.png", pixels()))
    bright = to_luminance(pixels().transpose(2, 1, 0)[..., None].astype(np.float32))
    np.testing.assert_allclose(found[:, ::-1, ::-1], standardised(bright), atol=1e-4)
    assert "turned to grey" in geometry.notes[0]


@pytest.mark.parametrize("bright", [0, 1])
def test_a_nearly_black_picture_keeps_what_is_not_black(tmp_path: Path, bright: int) -> None:
    values = np.zeros((ROWS, COLUMNS, 1), np.uint8)
    values[:bright, 0] = 200
    found, _ = pipeline(1).image(write(tmp_path / "dark.png", values))
    assert np.isfinite(found).all()
    assert (found > 1).sum() == bright


def test_sixteen_bits_are_all_seen(tmp_path: Path) -> None:
    deep = np.random.default_rng(0).integers(0, 2**16, (ROWS, COLUMNS)).astype(np.uint16)
    found, _ = pipeline(1).image(write(tmp_path / "deep.png", deep))
    np.testing.assert_allclose(found[0, ::-1, ::-1, 0].T, standardised(deep), atol=1e-4)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 2.0, 1.0), (2.0, 2.0, 99.0)])
def test_a_label_goes_there_and_back(tmp_path: Path, spacing: tuple[float, ...]) -> None:
    steps = pipeline(spacing=spacing)
    image, geometry = steps.image(write(tmp_path / "a.png", pixels()))
    label = np.zeros((COLUMNS, ROWS, 1), np.uint8)
    label[4:14, 6:18] = 1
    there = steps.label(label, geometry)
    assert there.shape == image.shape[1:] == (COLUMNS / spacing[0], ROWS / spacing[1], 1)
    back = steps.restore(torch.from_numpy(there)[None].float(), geometry)
    assert np.array_equal(back[0].numpy() > 0.5, label > 0)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_are_resampled_in_their_plane_and_never_across(tmp_path: Path, axis: int) -> None:
    spacing, shape = [2.0, 2.0, 2.0], [24, 28, 32]
    spacing[axis], shape[axis] = 11.0, 5
    number = np.broadcast_to(np.arange(5.0).reshape([-1 if place == axis else 1 for place in range(3)]), shape)
    nib.save(nib.Nifti1Image(number.astype(np.float32), np.diag([*spacing, 1])), tmp_path / "a.nii.gz")
    window = (-10.0, 10.0, 0.0, 1.0)
    plan = Plan((4.0, 4.0, 4.0), "ct", (16, 16, 16), window, dimension=2, slice_axis=axis)
    found, geometry = Preprocess(plan).image(tmp_path / "a.nii.gz")
    expected = [n // 2 for n in shape]
    expected[axis] = 5
    assert found.shape == (1, *expected)
    assert geometry.spacing[axis] == pytest.approx(11)
    for place, values in enumerate(np.moveaxis(found[0], axis, 0)):  # no slice is mixed with its neighbour
        np.testing.assert_allclose(values, place, atol=1e-5)
