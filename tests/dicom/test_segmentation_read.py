"""Segmentations as other programs write them, made by highdicom or by changes to our own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from highdicom.seg import Segmentation
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from lib.dicom.label import DicomLabel
from lib.dicom.segmentation_read import read_segmentation
from lib.dicom.segmentation_source import source_images
from lib.dicom.segmentation_write import write_segmentation
from lib.dicom.series import DicomSeries
from lib.dicom.stack import stack
from lib.errors import StudyError
from tests.dicom.label_phantoms import NAMES, frame_of_reference, make_label, make_series, through_file

VALUES = {name: value for value, name in NAMES.items()}


@pytest.fixture
def series(tmp_path: Path) -> DicomSeries:
    return make_series(tmp_path, "sagittal")


def read(dataset: Dataset, series: DicomSeries, values: dict[str, int] | None = None, **changes: Any) -> DicomLabel:
    image = {"series": series.uid, "frame_of_reference": frame_of_reference(series)} | changes
    return read_segmentation(
        dataset, series.array.shape, series.affine, values=VALUES if values is None else values, **image
    )


def ours(series: DicomSeries) -> Dataset:
    return through_file(write_segmentation(make_label(), NAMES, series.headers))


def by_highdicom(series: DicomSeries, segments: NDArray, kind: str, names: dict[int, str], **kwargs: Any) -> Dataset:
    """``segments (X, Y, Z, segments)``, of fractions or of overlapping masks."""
    descriptions = write_segmentation(make_label() * 0, names, series.headers).SegmentSequence
    dataset = Segmentation(
        source_images(stack(series.headers)),
        segments.transpose(2, 1, 0, 3),
        kind,
        list(descriptions),
        *(generate_uid(), 1, generate_uid(), 1, "another", "another", "1", "1"),
        **kwargs,
    )
    return through_file(dataset)


def test_frames_may_come_in_any_order(series: DicomSeries) -> None:
    dataset = ours(series)
    pixels = dataset.pixel_array
    order = np.random.default_rng(1).permutation(len(pixels))
    assert (order != np.arange(len(pixels))).any()
    frames = dataset.PerFrameFunctionalGroupsSequence
    dataset.PerFrameFunctionalGroupsSequence = [frames[place] for place in order]
    dataset.PixelData = np.packbits(pixels[order], bitorder="little").tobytes()
    np.testing.assert_array_equal(read(dataset, series).array, make_label())


def test_missing_frames_are_empty_not_cropped(series: DicomSeries) -> None:
    label = np.zeros_like(make_label())
    label[3:6, 2:5, [1, 4]] = 1  # two slices of seven
    dataset = through_file(write_segmentation(label, NAMES, series.headers))
    assert int(dataset.NumberOfFrames) == 2
    np.testing.assert_array_equal(read(dataset, series).array, label)


def test_of_overlapping_segments_the_higher_number_counts(series: DicomSeries) -> None:
    masks = np.zeros((*make_label().shape, 3), dtype=np.uint8)
    masks[2:6, 2:6, 2:4, 0] = masks[4:9, 4:9, 3:5, 1] = masks[0, 0, 0, 2] = 1
    expected = np.zeros_like(make_label())
    expected[2:6, 2:6, 2:4] = 1
    expected[4:9, 4:9, 3:5] = 2
    expected[0, 0, 0] = 5
    found = read(by_highdicom(series, masks, "BINARY", NAMES), series)
    np.testing.assert_array_equal(found.array, expected)
    assert "overlap in 4 voxels" in " ".join(found.notes)


def test_the_projects_classes_lie_above_segments_it_does_not_know(series: DicomSeries) -> None:
    masks = np.zeros((*make_label().shape, 2), dtype=np.uint8)
    masks[2:6, 2:6, 2:4, 0] = masks[..., 1] = 1
    found = read(by_highdicom(series, masks, "BINARY", {1: "spleen", 2: "body"}), series, {"spleen": 1})
    assert found.names == {1: "spleen", 2: "body"}
    np.testing.assert_array_equal(found.array, 2 - masks[..., 0])


def test_of_fractions_half_and_more_counts(series: DicomSeries) -> None:
    fractions = np.zeros((*make_label().shape, 1))
    fractions[1, 1, :, 0] = [0, 0.2, 0.4, 0.5, 0.6, 0.8, 1]
    dataset = by_highdicom(series, fractions, "FRACTIONAL", {1: "liver"}, max_fractional_value=100)
    found = read(dataset, series)
    np.testing.assert_array_equal(found.array[1, 1], [0, 0, 0, 1, 1, 1, 1])
    assert found.array.sum() == 4
    assert "fractions" in found.notes[0]


@pytest.mark.parametrize("padding", [None, 9])
def test_label_maps(padding: int | None, series: DicomSeries) -> None:
    """Supplement 243: the pixels are segment numbers, and a segment may describe the background."""
    label, dataset = make_label(), ours(series)
    numbers = np.array([0, 1, 2, 0, 0, 3], dtype=np.uint8)[label]
    dataset.SegmentationType, dataset.NumberOfFrames = "LABELMAP", label.shape[2]
    if padding:
        numbers[numbers == 0] = padding
        dataset.add_new("PixelPaddingValue", "US", padding)
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    frames = []
    for header in series.headers:
        position, frame = Dataset(), Dataset()
        position.ImagePositionPatient, frame.PlanePositionSequence = header.ImagePositionPatient, [position]
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = frames
    dataset.PixelData = np.ascontiguousarray(numbers.transpose(2, 1, 0)).tobytes()
    background = Dataset()
    background.SegmentNumber, background.SegmentLabel = padding or 0, "Background"
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "125040", "DCM", "Background"
    background.SegmentedPropertyTypeCodeSequence = [code]
    dataset.SegmentSequence = [background, *dataset.SegmentSequence]
    found = read(through_file(dataset), series)
    np.testing.assert_array_equal(found.array, label)
    assert found.names == NAMES
    dataset.SegmentSequence.pop()
    with pytest.raises(StudyError, match=r"segments \[3\]"):
        read(through_file(dataset), series)


def test_segments_without_a_label_go_by_their_term_and_unknown_ones_are_kept(series: DicomSeries) -> None:
    dataset = ours(series)
    del dataset.SegmentSequence[0].SegmentLabel
    dataset.SegmentSequence[1].SegmentLabel = "something else"
    del dataset.SegmentSequence[1].SegmentedPropertyTypeCodeSequence
    found = read(dataset, series)
    assert found.names == {1: "liver", 3: "something else", 5: "tumour"}
    np.testing.assert_array_equal(found.array, np.array([0, 1, 3, 0, 0, 5])[make_label()])


def test_another_grid_is_resampled_to_the_nearest_voxel(series: DicomSeries) -> None:
    """Voxels of half the size, a part of the field: each takes the value of the voxel that its centre lies in."""
    affine = series.affine @ np.array([[0.5, 0, 0, 1.75], [0, 0.5, 0, 0.75], [0, 0, 0.5, -1.25], [0, 0, 0, 1]])
    shape = (20, 15, 18)
    found = read_segmentation(
        ours(series), shape, affine, series=series.uid, frame_of_reference=frame_of_reference(series), values=VALUES
    )
    expected, label = np.zeros(shape, dtype=np.uint8), make_label()
    for voxel in np.ndindex(shape):
        x, y, z = np.round(np.array(voxel) / 2 + [1.75, 0.75, -1.25]).astype(int)
        if 0 <= x < label.shape[0] and 0 <= y < label.shape[1] and 0 <= z < label.shape[2]:
            expected[voxel] = label[x, y, z]
    np.testing.assert_array_equal(found.array, expected)
    assert "another grid" in found.notes[0]


def test_frames_beyond_the_images_slices_are_left_out_and_told(series: DicomSeries) -> None:
    affine = series.affine.copy()
    affine[:3, 3] += 2 * affine[:3, 2]
    found = read_segmentation(
        ours(series),
        (13, 10, 5),
        affine,
        series=series.uid,
        frame_of_reference=frame_of_reference(series),
        values=VALUES,
    )
    np.testing.assert_array_equal(found.array, make_label()[:, :, 2:])
    assert "beyond" in found.notes[0]


def test_another_frame_of_reference_is_refused(series: DicomSeries) -> None:
    with pytest.raises(StudyError, match=f"{series.uid}.*another frame of reference"):
        read(ours(series), series, frame_of_reference="1.2.3")


def test_a_reference_that_is_gone_does_not_matter_in_one_frame_of_reference(series: DicomSeries) -> None:
    dataset = ours(series)
    del dataset.ReferencedSeriesSequence
    np.testing.assert_array_equal(read(dataset, series).array, make_label())


def test_truncated_pixels_are_refused(series: DicomSeries) -> None:
    dataset = ours(series)
    dataset.PixelData = dataset.PixelData[:-20]
    with pytest.raises(StudyError, match="truncated"):
        read(dataset, series)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda dataset: setattr(dataset, "SegmentationType", "SURFACE"), "SURFACE"),
        (lambda dataset: dataset.SegmentSequence.pop(0), r"segments \[1\]"),
        (lambda dataset: delattr(dataset.PerFrameFunctionalGroupsSequence[1], "SegmentIdentificationSequence"), "[0]"),
        (lambda dataset: delattr(dataset, "PixelData"), "truncated"),
        (lambda dataset: delattr(dataset, "Rows"), "geometry"),
        (lambda dataset: delattr(dataset, "NumberOfFrames"), "ImagePosition"),
        (
            lambda dataset: delattr(dataset.PerFrameFunctionalGroupsSequence[1], "PlanePositionSequence"),
            "ImagePosition",
        ),
    ],
)
def test_objects_that_cannot_be_understood_are_refused(change: Any, cause: str, series: DicomSeries) -> None:
    dataset = ours(series)
    change(dataset)
    with pytest.raises(StudyError, match=cause) as error:
        read(dataset, series)
    assert str(dataset.SeriesInstanceUID) in str(error.value)
