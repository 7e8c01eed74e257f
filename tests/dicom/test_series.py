from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from highdicom.legacy import LegacyConvertedEnhancedCTImage, LegacyConvertedEnhancedMRImage
from pydicom import Dataset, dcmread

from lib.dicom.phantom_series import uid, write_series
from lib.dicom.series import read_series
from lib.errors import StudyError

RNG = np.random.default_rng(0)
ARRAY = RNG.integers(-900, 2000, (6, 5, 7))
TURN = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]])
DIRECTIONS = {  # right-handed: the slices follow each other along the normal
    "axial": np.diag([-1.0, -1.0, 1.0]),
    "sagittal": np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]),
    "coronal": np.array([[-1.0, 0, 0], [0, 0, -1], [0, -1, 0]]),
    "oblique": TURN,
}


def affine_of(directions: np.ndarray) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = directions * (0.7, 1.3, 2.6), (10.5, -20.25, 30.125)
    return affine


def edit(file: Path, **attributes: object) -> None:
    dataset = dcmread(file)
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    dataset.save_as(file)


@pytest.mark.parametrize("name", DIRECTIONS)
@pytest.mark.parametrize("flipped", [False, True])
def test_there_and_back(tmp_path: Path, name: str, flipped: bool) -> None:
    affine, array = affine_of(DIRECTIONS[name]), ARRAY
    if flipped:  # the same voxels at the same places, written from the other end
        to_last = np.array([0, 0, ARRAY.shape[2] - 1, 1])
        affine = np.column_stack([affine[:, 0], affine[:, 1], -affine[:, 2], affine @ to_last])
        array = ARRAY[:, :, ::-1]
    files = write_series(array, affine, tmp_path, modality="CT")
    found = read_series(RNG.permutation(files))
    assert np.array_equal(found.array, ARRAY)
    assert found.array.dtype == np.int16
    assert np.allclose(found.affine, affine_of(DIRECTIONS[name]), atol=1e-9)
    assert found.uid == uid("series", "phantom", "1")
    assert found.frames == [(z, 0) for z in range(7)]
    numbers = [header.InstanceNumber for header in found.headers]
    assert numbers == (list(range(7, 0, -1)) if flipped else list(range(1, 8)))
    assert not any("PixelData" in header for header in found.headers)


@pytest.mark.parametrize("modality", ["CT", "MR", "PT"])
def test_values_and_geometry_are_those_of_itk(tmp_path: Path, modality: str) -> None:
    files = write_series(ARRAY * 0.37, affine_of(TURN), tmp_path, modality=modality)
    found = read_series(files)
    image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path)))
    assert found.array.dtype == np.float32
    assert np.allclose(found.array, sitk.GetArrayFromImage(image).T, atol=1e-3)
    direction = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    assert np.allclose(found.affine[:3, :3], np.diag([-1, -1, 1]) @ direction, atol=1e-6)
    assert np.allclose(found.affine[:3, 3], np.array(image.GetOrigin()) * [-1, -1, 1], atol=1e-6)


def test_hounsfield_units_beyond_sixteen_bits_stay_whole(tmp_path: Path) -> None:
    files = write_series(ARRAY, affine_of(np.eye(3)), tmp_path, modality="CT")
    for file in files:
        edit(file, RescaleSlope=20, RescaleIntercept=-1024)
    found = read_series(files)
    assert found.array.dtype == np.int32
    assert np.array_equal(np.sort(found.array, None), np.sort(ARRAY * 20 - 1024, None))


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_one_object_of_many_frames(tmp_path: Path, modality: str) -> None:
    affine = affine_of(DIRECTIONS["oblique"])
    files = write_series(ARRAY, affine, tmp_path / "single", modality=modality, patient="Doe")
    enhanced = enhance([dcmread(file) for file in files])
    reverse_frames(enhanced)
    enhanced.save_as(tmp_path / "enhanced.dcm", write_like_original=False)
    found = read_series([tmp_path / "enhanced.dcm"])
    assert np.array_equal(found.array, ARRAY)
    assert np.allclose(found.affine, affine, atol=1e-9)
    assert len(found.headers) == 1
    assert sorted(found.frames) == [(0, number) for number in range(7)]
    assert found.frames[0] == (0, 6)


def test_two_echoes_in_one_object_of_many_frames_are_refused(tmp_path: Path) -> None:
    legacy = [dcmread(file) for file in write_series(ARRAY, np.eye(4), tmp_path / "1")]
    later = [dcmread(file) for file in write_series(ARRAY, np.eye(4), tmp_path / "2")]
    for dataset in later:
        dataset.SOPInstanceUID, dataset.EchoTime = uid(dataset.SOPInstanceUID), 10
    enhance(legacy + later).save_as(tmp_path / "enhanced.dcm", write_like_original=False)
    with pytest.raises(StudyError, match=r"2 volumes lie in it under one SeriesInstanceUID: .*EchoTime"):
        read_series([tmp_path / "enhanced.dcm"])


def enhance(legacy: list[Dataset]) -> Dataset:
    for dataset in legacy:  # highdicom 0.22 cannot join a date and a time that pydicom keeps as text
        del dataset.AcquisitionDate, dataset.AcquisitionTime
    kind = {"CT": LegacyConvertedEnhancedCTImage, "MR": LegacyConvertedEnhancedMRImage}[legacy[0].Modality]
    return kind(legacy, uid("enhanced"), 2, uid("object"), 1)


def reverse_frames(dataset: Dataset) -> None:
    groups = dataset.PerFrameFunctionalGroupsSequence
    first_heights = [group.PlanePositionSequence[0].ImagePositionPatient for group in groups]
    orientation = dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient
    normal = np.cross(orientation[:3], orientation[3:])
    order = np.argsort([-np.array(place, float) @ normal for place in first_heights])
    size = len(dataset.PixelData) // len(groups)
    parts = [dataset.PixelData[place * size : (place + 1) * size] for place in order]
    dataset.PerFrameFunctionalGroupsSequence = [groups[place] for place in order]
    dataset.PixelData = b"".join(parts)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.99])
def test_a_truncated_file_is_refused(tmp_path: Path, compressed: bool, share: float) -> None:
    files = write_series(ARRAY, np.eye(4), tmp_path, patient="Doe", compressed=compressed)
    files[3].write_bytes(files[3].read_bytes()[: int(files[3].stat().st_size * share)])
    with pytest.raises(StudyError, match=f"Study '{uid('series', 'phantom', '1')}'.*(file 4 of 7|image 4)") as refusal:
        read_series(files)
    assert "Doe" not in str(refusal.value)


def test_bad_files_are_counted_and_not_named(tmp_path: Path) -> None:
    files = write_series(ARRAY, np.eye(4), tmp_path)
    named = tmp_path / "Doe.dcm"
    named.write_text("no DICOM")
    with pytest.raises(StudyError, match=r"file 8 of 9 cannot be read as DICOM .*, and 1 more") as refusal:
        read_series([*files, named, tmp_path / "absent.dcm"])
    assert "Doe" not in str(refusal.value)
    with pytest.raises(StudyError, match="file 1 of 1 does not exist"):
        read_series([tmp_path / "absent.dcm"])
    with pytest.raises(StudyError, match="no files"):
        read_series([])


def test_what_is_no_volume_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    files = write_series(ARRAY, np.eye(4), tmp_path / "1")
    with pytest.raises(StudyError, match="1 slice is missing"):
        read_series([*files[:3], *files[4:]])
    with pytest.raises(StudyError, match="belong to 2 series"):
        read_series([*files, *write_series(ARRAY, np.eye(4), tmp_path / "2", series="2")])


def test_compression_with_loss_is_noted(tmp_path: Path) -> None:
    files = write_series(ARRAY, np.eye(4), tmp_path)
    assert read_series(files).notes == []
    edit(files[2], LossyImageCompression="01")
    assert "with loss" in read_series(files).notes[0]
