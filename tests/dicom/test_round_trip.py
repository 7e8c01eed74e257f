"""A label as DICOM SEG, as bytes, and back, is the same label, voxel for voxel, on series of every orientation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from lib.dicom.label import DicomLabel, referenced_series
from lib.dicom.segmentation_read import read_segmentation
from lib.dicom.segmentation_write import write_segmentation
from lib.dicom.series import DicomSeries, read_series
from lib.errors import StudyError
from tests.dicom.label_phantoms import AXES, NAMES, frame_of_reference, make_label, make_series, through_file

ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
VALUES = {name: value for value, name in NAMES.items()}


def there_and_back(series: DicomSeries, label: np.ndarray, values: dict[str, int]) -> DicomLabel:
    dataset = through_file(write_segmentation(label, NAMES, series.headers))
    assert referenced_series(dataset) == series.uid
    return read_segmentation(
        dataset,
        series.array.shape,
        series.affine,
        series=series.uid,
        frame_of_reference=frame_of_reference(series),
        values=values,
    )


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 1.3, 5.0)], ids=["isotropic", "anisotropic"])
def test_label_comes_back_voxel_for_voxel(axes: str, spacing: tuple[float, float, float], tmp_path: Path) -> None:
    series, label = make_series(tmp_path, axes, spacing), make_label()
    back = there_and_back(series, label, VALUES)
    np.testing.assert_array_equal(back.array, label)
    assert (back.names, back.notes) == (NAMES, [])


def test_the_array_has_the_same_place_as_the_series_files(tmp_path: Path) -> None:
    """Mark the brightest voxel of one known file: it comes back at that file's position and pixel."""
    series = make_series(tmp_path, "axial feet first")
    file = dcmread(tmp_path / "0002.dcm")
    y, x = np.unravel_index(np.argmax(file.pixel_array), file.pixel_array.shape)
    label = np.where(series.array == file.pixel_array[y, x], 1, 0).astype(np.uint8)
    dataset = through_file(write_segmentation(label, NAMES, series.headers))
    frames = {tuple(frame.PlanePositionSequence[0].ImagePositionPatient): number
              for number, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence)}  # fmt: skip
    assert dataset.pixel_array.reshape(-1, *file.pixel_array.shape)[frames[tuple(file.ImagePositionPatient)], y, x] == 1


def test_empty_label_means_reviewed_and_comes_back_empty_with_its_classes(tmp_path: Path) -> None:
    series = make_series(tmp_path)
    back = there_and_back(series, np.zeros_like(make_label()), VALUES)
    assert not back.array.any()
    assert back.names == NAMES


def test_series_without_a_frame_of_reference(tmp_path: Path) -> None:
    series, label = make_series(tmp_path), make_label()
    for header in series.headers:
        del header.FrameOfReferenceUID
    dataset = through_file(write_segmentation(label, NAMES, series.headers))
    grid = series.array.shape, series.affine
    back = read_segmentation(dataset, *grid, series=series.uid, frame_of_reference="", values=VALUES)
    np.testing.assert_array_equal(back.array, label)
    with pytest.raises(StudyError, match="neither"):
        read_segmentation(dataset, *grid, series="1.2.3", frame_of_reference="", values=VALUES)


def test_without_a_project_the_classes_are_numbered_in_the_order_of_the_segments(tmp_path: Path) -> None:
    label = make_label()
    back = there_and_back(make_series(tmp_path), label, {})
    assert back.names == {1: "liver", 2: "left_atrium", 3: "tumour"}
    np.testing.assert_array_equal(back.array, np.array([0, 1, 2, 0, 0, 3], dtype=np.uint8)[label])


@pytest.mark.parametrize("shared", [True, False], ids=["geometry shared", "geometry with each frame"])
def test_multiframe_source_with_frames_in_another_order_than_in_space(shared: bool, tmp_path: Path) -> None:
    single = make_series(tmp_path / "single", "oblique")
    order = [3, 0, 6, 1, 5, 2, 4]
    path = enhanced(single, order, shared, tmp_path / "enhanced.dcm")
    series, label = read_series([path]), make_label()
    np.testing.assert_array_equal(series.array, single.array)
    np.testing.assert_array_equal(there_and_back(series, label, VALUES).array, label)
    dataset = through_file(write_segmentation(label, NAMES, series.headers))
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        source = frame.DerivationImageSequence[0].SourceImageSequence[0]
        place = series.headers[0].PerFrameFunctionalGroupsSequence[source.ReferencedFrameNumber - 1]
        own = frame.PlanePositionSequence[0].ImagePositionPatient
        assert place.PlanePositionSequence[0].ImagePositionPatient == own, "a frame refers to the frame it covers"


def test_series_of_several_multiframe_objects(tmp_path: Path) -> None:
    single = make_series(tmp_path / "single")
    halves = [enhanced(single, part, True, tmp_path / f"{part[0]}.dcm") for part in ([4, 6, 5], [2, 0, 1, 3])]
    series, label = read_series(halves), make_label()
    np.testing.assert_array_equal(there_and_back(series, label, VALUES).array, label)


def enhanced(series: DicomSeries, order: list[int], shared: bool, path: Path) -> Path:
    """Slices of a series as one Enhanced MR object (PS3.3 A.36.2), as far as geometry and pixels go."""
    first = series.headers[0]
    dataset = Dataset()
    for keyword in (
        "PatientID",
        "PatientName",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "FrameOfReferenceUID",
        "Modality",
    ):
        setattr(dataset, keyword, first[keyword].value)
    dataset.SOPClassUID, dataset.SOPInstanceUID = ENHANCED_MR, generate_uid()
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = first.Rows, first.Columns, len(order)
    for keyword in (
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
    ):
        setattr(dataset, keyword, first[keyword].value)
    dataset.PixelData = np.ascontiguousarray(series.array.transpose(2, 1, 0)[order].astype("<i2")).tobytes()

    def plane() -> Dataset:
        item, measures, orientation = Dataset(), Dataset(), Dataset()
        measures.PixelSpacing, orientation.ImageOrientationPatient = first.PixelSpacing, first.ImageOrientationPatient
        item.PixelMeasuresSequence, item.PlaneOrientationSequence = [measures], [orientation]
        return item

    dataset.SharedFunctionalGroupsSequence = [plane() if shared else Dataset()]
    frames = []
    for z in order:
        frame, position = Dataset() if shared else plane(), Dataset()
        position.ImagePositionPatient = series.headers[z].ImagePositionPatient
        frame.PlanePositionSequence = [position]
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = frames
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.is_little_endian, dataset.is_implicit_VR = True, False
    dataset.save_as(path, write_like_original=False)
    return path
