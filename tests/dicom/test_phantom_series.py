from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from highdicom._iods import IOD_MODULE_MAP  # the tables of PS3.3, which highdicom carries
from highdicom._modules import MODULE_ATTRIBUTE_MAP
from pydicom import dcmread

from lib.dicom.phantom_series import uid, write_series
from lib.errors import StudyError

RNG = np.random.default_rng(0)
ARRAY = RNG.integers(-900, 2000, (4, 5, 6))
TURN = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]])  # orthogonal, no axis alone
AFFINES = {
    "axial": np.diag([-1.0, -1.0, 1.0]),
    "axial, z flipped": np.diag([-1.0, -1.0, -1.0]),
    "sagittal": np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]),
    "coronal": np.array([[-1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
    "oblique": TURN,
    "oblique, z flipped": TURN * [1, 1, -1],
}


def affine_of(directions: np.ndarray, spacing: tuple[float, float, float] = (0.7, 1.3, 2.6)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = directions * spacing, (10.5, -20.25, 30.123456)
    return affine


def by_itk(files: list[Path]) -> sitk.Image:
    return sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(files[0].parent)))


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("modality", ["CT", "MR", "PT"])
def test_itk_finds_every_value_at_its_place(tmp_path: Path, name: str, modality: str) -> None:
    affine = affine_of(AFFINES[name])
    image = by_itk(write_series(ARRAY, affine, tmp_path, modality=modality))
    for index in np.ndindex(ARRAY.shape):
        x, y, z = (affine @ [*index, 1])[:3]
        found = image.TransformPhysicalPointToIndex((-x, -y, z))
        assert image[found] == pytest.approx(ARRAY[index], abs=0.04)
        assert np.allclose(image.TransformIndexToPhysicalPoint(found), (-x, -y, z), atol=1e-4)


def test_whole_numbers_are_stored_as_they_are_and_others_to_sixteen_bits(tmp_path: Path) -> None:
    files = write_series(ARRAY, affine_of(TURN), tmp_path / "whole", modality="CT")
    assert np.array_equal(dcmread(files[2]).pixel_array.T, ARRAY[:, :, 2])
    real = ARRAY * 0.1 + 7
    found = sitk.GetArrayFromImage(by_itk(write_series(real, affine_of(TURN), tmp_path / "real"))).T
    assert np.abs(found - real).max() <= np.ptp(real) / 65535


def test_pet_has_a_slope_for_each_slice(tmp_path: Path) -> None:
    array = np.ones((4, 5, 3)) * [1.0, 10.0, 100.0]
    files = write_series(array, affine_of(TURN), tmp_path, modality="PT")
    assert len({dcmread(file).RescaleSlope for file in files}) == 3


@pytest.mark.parametrize(("modality", "iod"), [("CT", "ct-image"), ("MR", "mr-image"), ("PT", "pet-image")])
def test_what_the_standard_requires_is_there(tmp_path: Path, modality: str, iod: str) -> None:
    dataset = dcmread(write_series(ARRAY, affine_of(TURN), tmp_path, modality=modality)[0])
    for module in (entry["key"] for entry in IOD_MODULE_MAP[iod] if entry["usage"] == "M"):
        for attribute in MODULE_ATTRIBUTE_MAP[module]:
            if not attribute["path"] and attribute["type"] in ("1", "2"):
                assert attribute["keyword"] in dataset, (module, attribute["keyword"])
                if attribute["type"] == "1":
                    assert dataset[attribute["keyword"]].VM > 0, (module, attribute["keyword"])


def test_the_same_texts_give_the_same_study_again(tmp_path: Path) -> None:
    first, again, other = (
        dcmread(write_series(ARRAY, affine_of(TURN), tmp_path / str(place), study="a", series=series)[1])
        for place, series in enumerate(("1", "1", "2"))
    )
    assert first == again
    assert first.StudyInstanceUID == other.StudyInstanceUID
    assert first.FrameOfReferenceUID == other.FrameOfReferenceUID
    assert first.SeriesInstanceUID == uid("series", "a", "1") != other.SeriesInstanceUID
    assert first.SOPInstanceUID != other.SOPInstanceUID


def test_what_a_series_cannot_hold_is_refused(tmp_path: Path) -> None:
    sheared = affine_of(TURN)
    sheared[:3, 2] += sheared[:3, 1]
    with pytest.raises(StudyError, match="sheared"):
        write_series(ARRAY, sheared, tmp_path)
    with pytest.raises(StudyError, match="no volume"):
        write_series(ARRAY[0], np.eye(4), tmp_path)
    with pytest.raises(StudyError, match="modality US"):
        write_series(ARRAY, np.eye(4), tmp_path, modality="US")
