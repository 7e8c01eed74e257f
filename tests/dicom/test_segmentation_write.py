"""What a written segmentation says: classes, colours, algorithm, geometry, and little of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from highdicom.seg import segread
from pydicom.dataset import Dataset

from lib.dicom.segmentation_write import write_segmentation
from lib.dicom.series import DicomSeries
from lib.errors import StudyError
from tests.dicom.label_phantoms import AXES, NAMES, make_label, make_series, through_file


@pytest.fixture
def series(tmp_path: Path) -> DicomSeries:
    return make_series(tmp_path)


@pytest.mark.parametrize("axes", AXES)
def test_each_voxel_lies_where_the_image_has_it(axes: str, tmp_path: Path) -> None:
    """PS3.3 C.7.6.2.1.1: position + column index * column spacing * row direction + row index * ..., in LPS."""
    series, label = make_series(tmp_path, axes), make_label()
    dataset = through_file(write_segmentation(label, NAMES, series.headers))
    shared = dataset.SharedFunctionalGroupsSequence[0]
    across, down = np.reshape(shared.PlaneOrientationSequence[0].ImageOrientationPatient, (2, 3)).astype(float)
    between_rows, between_columns = shared.PixelMeasuresSequence[0].PixelSpacing
    found: dict[int, list[np.ndarray]] = {}
    for frame, pixels in zip(dataset.PerFrameFunctionalGroupsSequence, dataset.pixel_array, strict=True):
        number = frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        position = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        for row, column in np.argwhere(pixels):
            place = position + column * between_columns * across + row * between_rows * down
            found.setdefault(number, []).append(place * [-1, -1, 1])
    assert set(found) == {1, 2, 3}
    for number, value in enumerate(sorted(NAMES), 1):
        places = np.argwhere(label == value) @ series.affine[:3, :3].T + series.affine[:3, 3]
        np.testing.assert_allclose(sorted(map(tuple, found[number])), sorted(map(tuple, places)), atol=1e-4)


def test_one_segment_a_class_with_name_term_and_colour(series: DicomSeries) -> None:
    label = np.where(make_label() == 1, 1, 0)  # left atrium and tumour do not occur
    settings = {"codes": ["liver=SCT:10200004:Organ"], "colours": ["liver=#ffffff"]}
    dataset = through_file(write_segmentation(label, NAMES, series.headers, **settings))
    assert [segment.SegmentLabel for segment in dataset.SegmentSequence] == ["liver", "left_atrium", "tumour"]
    assert [int(segment.SegmentNumber) for segment in dataset.SegmentSequence] == [1, 2, 3]
    types = [segment.SegmentedPropertyTypeCodeSequence[0] for segment in dataset.SegmentSequence]
    assert [term.CodeValue for term in types] == ["10200004", "82471001", "108369006"]
    assert types[0].CodeMeaning == "Organ"
    assert dataset.SegmentSequence[0].RecommendedDisplayCIELabValue[0] == 0xFFFF
    assert dataset.SegmentationType == "BINARY"
    assert dataset.SegmentsOverlap == "NO"
    assert int(dataset.NumberOfFrames) == 3, "frames without a voxel are left out"


def test_it_belongs_to_the_patient_and_study_of_its_series(series: DicomSeries) -> None:
    for header in series.headers:
        header.SpecificCharacterSet, header.PatientName = "ISO_IR 192", "Иванов^Пётр"
        header.PatientSex = "X"  # not allowed, yet seen; it is copied as it is
        del header.PatientBirthDate, header.StudyID, header.SliceThickness
    dataset = through_file(write_segmentation(make_label(), NAMES, series.headers))
    first = series.headers[0]
    for keyword in ("PatientName", "PatientID", "PatientSex", "StudyInstanceUID", "StudyDate", "FrameOfReferenceUID"):
        assert dataset[keyword].value == first[keyword].value
    assert dataset.SeriesInstanceUID != first.SeriesInstanceUID
    references = dataset.ReferencedSeriesSequence[0]
    assert references.SeriesInstanceUID == series.uid
    uids = {item.ReferencedSOPInstanceUID for item in references.ReferencedInstanceSequence}
    assert uids == {header.SOPInstanceUID for header in series.headers}


@pytest.mark.parametrize(
    ("automatic", "version", "kind"),
    [(True, "0007", "AUTOMATIC"), (False, "0007", "SEMIAUTOMATIC"), (False, "", "MANUAL")],
)
def test_it_says_who_made_it(automatic: bool, version: str, kind: str, series: DicomSeries) -> None:
    made = write_segmentation(
        make_label(),
        NAMES,
        series.headers,
        automatic=automatic,
        version=version,
        creator="Reader^One",
        description="d" * 70,
    )
    dataset = through_file(made)
    for segment in dataset.SegmentSequence:
        assert segment.SegmentAlgorithmType == kind
        if kind != "MANUAL":
            algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
            assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("semiseg", "0007")
    assert str(dataset.ContentCreatorName) == "Reader^One"
    assert dataset.SeriesDescription == "d" * 64


def test_empty_label_has_one_empty_frame_a_segment(series: DicomSeries) -> None:
    dataset = through_file(write_segmentation(np.zeros_like(make_label()), NAMES, series.headers))
    assert int(dataset.NumberOfFrames) == len(NAMES)
    assert not dataset.pixel_array.any()
    assert len(dataset.SegmentSequence) == len(NAMES)


def test_pixels_are_packed_as_highdicom_reads_them(series: DicomSeries, tmp_path: Path) -> None:
    label = make_label()
    write_segmentation(label, NAMES, series.headers).save_as(tmp_path / "seg.dcm", write_like_original=False)
    uids = [header.SOPInstanceUID for header in series.headers]
    pixels = segread(tmp_path / "seg.dcm").get_pixels_by_source_instance(
        uids, combine_segments=True, ignore_spatial_locations=True, assert_missing_frames_are_empty=True
    )
    np.testing.assert_array_equal(pixels.transpose(2, 1, 0), np.array([0, 1, 2, 0, 0, 3])[label])


def test_label_of_another_shape_is_refused(series: DicomSeries) -> None:
    with pytest.raises(StudyError, match=rf"{series.uid}.*\(13, 10, 6\).*\(13, 10, 7\)"):
        write_segmentation(make_label()[:, :, 1:], NAMES, series.headers)


@pytest.mark.parametrize("value", [3, 257, 1.5])
def test_value_without_a_name_is_refused(value: float, series: DicomSeries) -> None:
    label = make_label().astype(float)
    label[0, 0, 0] = value
    with pytest.raises(StudyError, match=r"without a name.*1=liver"):
        write_segmentation(label, NAMES, series.headers)


def test_headers_need_no_order_and_no_pixels(series: DicomSeries) -> None:
    assert all("PixelData" not in header for header in series.headers)
    turned: list[Dataset] = series.headers[::-1]
    first, second = (through_file(write_segmentation(make_label(), NAMES, some)) for some in (series.headers, turned))
    assert first.PixelData == second.PixelData
