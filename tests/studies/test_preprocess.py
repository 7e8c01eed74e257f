"""The pipeline there and back: orientations, spacings, oblique grids, thin volumes, voxels without a number."""

from __future__ import annotations

import json
import logging
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from lib.errors import StudyError
from lib.studies.plan import Plan
from lib.studies.preprocess import Geometry, Preprocess, resize

SHAPE = (10, 12, 7)
SPACING = (2.0, 1.5, 3.0)  # mm along R, A, S
CODES = ["".join(code) for axes in permutations(("RL", "AP", "SI")) for code in product(*axes)]


def write(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


def pipeline(spacing: tuple[float, ...] = SPACING, modality: str = "mr", window: tuple[float, ...] = ()) -> Preprocess:
    return Preprocess(Plan(spacing, modality, (8, 8, 8), window))


def in_code(array: np.ndarray, code: str) -> tuple[np.ndarray, np.ndarray]:
    """A RAS array with SPACING as a file of this orientation would hold it, by hand: array and affine."""
    axes = ["RASLPI".index(letter) for letter in code]
    affine = np.eye(4)
    affine[:3, 3] = 5, -7, 11
    stored = array.transpose([axis % 3 for axis in axes])
    matrix = np.zeros((3, 3))
    for place, axis in enumerate(axes):
        matrix[axis % 3, place] = SPACING[axis % 3] * (-1 if axis > 2 else 1)
        if axis > 2:
            stored = np.flip(stored, place)
            affine[axis % 3, 3] += SPACING[axis % 3] * (array.shape[axis % 3] - 1)
    affine[:3, :3] = matrix
    return np.ascontiguousarray(stored), affine


def oblique() -> np.ndarray:
    """An affine turned about two axes, its columns nearest to -R, -A, S, of unequal spacing."""
    a, b = np.deg2rad(20), np.deg2rad(-15)
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x @ np.diag([-0.8, -1.1, 2.7])
    affine[:3, 3] = 12, -34, 56
    return affine


def noise(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(0).uniform(1, 100, shape).astype(np.float32)


@pytest.mark.parametrize("code", CODES)
def test_every_orientation_becomes_the_same_volume_and_goes_back_exactly(tmp_path: Path, code: str) -> None:
    expected = pipeline().image(write(tmp_path / "ras.nii", *in_code(noise(), "RAS")))[0]
    stored, affine = in_code(noise(), code)
    assert "".join(nib.aff2axcodes(affine)) == code  # the hand-made affine means what it should
    image, geometry = pipeline().image(write(tmp_path / "a.nii", stored, affine))
    assert image.shape == (1, *SHAPE)
    assert image.dtype == np.float32
    np.testing.assert_allclose(image, expected, rtol=0, atol=1e-6)
    ramp = torch.arange(stored.size).reshape(stored.shape).float()
    label = (ramp % 3).byte().numpy()
    turned = pipeline().label(label, geometry)
    assert np.array_equal(pipeline().restore(torch.from_numpy(turned)[None], geometry)[0].numpy(), label)


def test_oblique_images_go_back_exactly_too(tmp_path: Path) -> None:
    label = np.random.default_rng(1).integers(0, 3, SHAPE).astype(np.uint8)
    steps = pipeline((0.8, 1.1, 2.7))
    image, geometry = steps.image(write(tmp_path / "a.nii", noise(), oblique()))
    np.testing.assert_array_equal(steps.label(label, geometry), label[::-1, ::-1])
    restored = steps.restore(torch.from_numpy(np.concatenate([image, 2 * image])), geometry)
    assert restored.shape == (2, *SHAPE)
    np.testing.assert_array_equal(restored[0].numpy(), image[0, ::-1, ::-1])
    np.testing.assert_array_equal(restored[1], 2 * restored[0])
    np.testing.assert_allclose(geometry.affine, oblique(), atol=1e-5)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.6), (3.1, 0.9, 2.0), (5.0, 4.0, 9.0), (2.0, 1.5, 0.7)])
def test_resampling_keeps_every_position(tmp_path: Path, spacing: tuple[float, ...]) -> None:
    """A field that grows with the place in mm is resampled without error, but at the edges, where it is held.

    Where voxels are averaged (2 or more into one), boxes of whole voxels may be half a small voxel beside the place.
    """
    shape = (60, 54, 45)
    stored, affine = in_code(np.zeros(shape, np.float32), "PIR")
    image, geometry = pipeline(spacing).image(write(tmp_path / "a.nii", stored, affine))
    assert image.shape[1:] == tuple(round(n * own / new) for n, own, new in zip(shape, SPACING, spacing, strict=True))
    for axis, (own, new, edge) in enumerate(zip(SPACING, spacing, geometry.spacing, strict=True)):
        assert edge == pytest.approx(shape[axis] * own / image.shape[axis + 1])  # the extent is the same
        averaged = max(own, new) / min(own, new) > 1.9
        exact = 0.5 * min(own, new) if averaged else 1e-3
        fine, coarse = ruler(axis, shape, own), ruler(axis, geometry.size, edge)
        there = resize(torch.from_numpy(fine)[None], geometry.size)[0].numpy()
        np.testing.assert_allclose(inner(there, 3), inner(coarse, 3), atol=exact)
        back = pipeline(spacing).restore(torch.from_numpy(coarse)[None], geometry)[0].numpy()
        np.testing.assert_allclose(inner(back, 6), inner(in_code(fine, "PIR")[0], 6), atol=exact)


def ruler(axis: int, shape: tuple[int, ...], spacing: float) -> np.ndarray:
    """Each voxel's centre in mm from the volume's outer edge along an axis."""
    places = (np.arange(shape[axis], dtype=np.float32) + 0.5) * spacing
    return np.broadcast_to(places.reshape([-1 if other == axis else 1 for other in range(3)]), shape).copy()


def inner(volume: np.ndarray, margin: int) -> np.ndarray:
    return volume[(slice(margin, -margin),) * 3]


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.5), (2.5, 2.0, 4.0)])
def test_a_label_comes_back_almost_as_it_was(tmp_path: Path, spacing: tuple[float, ...]) -> None:
    ball = (np.indices((40, 40, 30)) - np.reshape((19.5, 19.5, 14.5), (3, 1, 1, 1))) * np.reshape(SPACING, (3, 1, 1, 1))
    distance = np.sqrt((ball**2).sum(0))
    stored, affine = in_code(np.where(distance < 12, 2, np.where(distance < 22, 1, 0)).astype(np.uint8), "LPS")
    steps = pipeline(spacing)
    _, geometry = steps.image(write(tmp_path / "a.nii", stored.astype(np.float32), affine))
    there = steps.label(stored, geometry)
    assert there.dtype == np.uint8
    assert there.shape == geometry.size
    onehot = torch.from_numpy(np.stack([there == index for index in range(3)])).float()
    back = steps.restore(onehot, geometry).argmax(0).numpy()
    for index in (1, 2):
        dice = 2 * ((back == index) & (stored == index)).sum() / ((back == index).sum() + (stored == index).sum())
        assert dice > 0.93


def test_shrinking_averages_instead_of_skipping_voxels() -> None:
    fine = torch.zeros(1, 8, 8, 8)
    fine[0, ::4, ::4, ::4] = 64.0  # one voxel in each block of 4 x 4 x 4
    assert torch.equal(resize(fine, (2, 2, 2)), torch.ones(1, 2, 2, 2))


def test_geometry_outlives_json(tmp_path: Path) -> None:
    steps = pipeline((1.0, 1.0, 1.0))
    image, geometry = steps.image(write(tmp_path / "a.nii", noise(), oblique()))
    again = Geometry.from_dict(json.loads(json.dumps(geometry.to_dict())))
    assert again.to_dict() == geometry.to_dict()
    assert torch.equal(steps.restore(torch.from_numpy(image), again), steps.restore(torch.from_numpy(image), geometry))


def test_mr_is_scaled_by_its_own_body_and_ct_by_the_window_of_all(tmp_path: Path) -> None:
    image = noise()
    image[:5] = 0  # air
    path = write(tmp_path / "a.nii", image, in_code(image, "RAS")[1])
    body = image[5:]
    expected = (np.clip(image, *np.percentile(body, (0.5, 99.5))) - body.mean()) / body.std()
    np.testing.assert_allclose(pipeline().image(path)[0][0], expected, atol=1e-4)
    scaled = write(tmp_path / "b.nii", 7 * image + 300, in_code(image, "RAS")[1])
    np.testing.assert_allclose(pipeline().image(scaled)[0][0], expected, atol=1e-4)
    ct = pipeline(modality="ct", window=(20.0, 60.0, 40.0, 8.0)).image(path)[0][0]
    np.testing.assert_allclose(ct, (np.clip(image, 20, 60) - 40) / 8, atol=1e-5)


@pytest.mark.parametrize("values", [(5.0, 5.0), (0.0, 1000.1), (-3e4, 3e4)])
def test_flat_images_stay_small_numbers(tmp_path: Path, values: tuple[float, float]) -> None:
    image = np.full(SHAPE, values[0], np.float32)
    image[3:7, 3:7] = values[1]
    found = pipeline((1.0, 1.0, 1.0)).image(write(tmp_path / "a.nii", image, in_code(image, "RAS")[1]))[0]
    assert np.abs(found).max() < 50


def test_voxels_that_are_no_numbers_take_the_darkest_value_and_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image, mended = noise(), noise()
    image[0, 0, :4] = np.nan, np.inf, -np.inf, np.nan
    mended[0, 0, :4] = np.delete(mended.ravel(), range(4)).min()
    affine = in_code(image, "RAS")[1]
    with caplog.at_level(logging.WARNING):
        found, geometry = pipeline().image(write(tmp_path / "holed.nii", image, affine))
    np.testing.assert_array_equal(found, pipeline().image(write(tmp_path / "b.nii", mended, affine))[0])
    assert geometry.notes[0].startswith("4 voxels")
    assert "'holed'" in caplog.text


def test_an_image_without_a_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"'empty'.*finite"):
        pipeline().image(write(tmp_path / "empty.nii", np.full(SHAPE, np.nan, np.float32)))


@pytest.mark.parametrize("shape", [(20, 18, 1), (1, 18, 20), (1, 1, 1), (3, 50, 2)])
@pytest.mark.parametrize("code", ["RAS", "LPI", "RAI"])
def test_a_volume_of_one_or_few_slices_goes_through(tmp_path: Path, shape: tuple[int, ...], code: str) -> None:
    steps = pipeline((1.3, 0.7, 30.0))
    stored, affine = in_code(noise(shape), code)
    image, geometry = steps.image(write(tmp_path / "thin.nii", stored, affine))
    assert np.isfinite(image).all()
    assert min(image.shape) >= 1
    assert steps.restore(torch.from_numpy(image), geometry).shape == (1, *stored.shape)
    assert steps.label(np.ones(stored.shape, np.uint8), geometry).shape == image.shape[1:]
