"""Structure sets drawn here point by point; the rule in words is the oracle, pixel by pixel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.path import Path as Polygon
from pydicom.dataset import Dataset

from lib.dicom.label import DicomLabel
from lib.dicom.rtstruct import read_rtstruct
from lib.dicom.series import DicomSeries
from lib.errors import StudyError
from tests.dicom.label_phantoms import AXES, SHAPE, frame_of_reference, make_series

KITE = [(1.2, 1.3), (6.4, 0.6), (9.7, 5.2), (4.1, 8.4), (2.6, 5.1)]  # columns and rows
HOLE = [(4.3, 2.4), (6.2, 2.7), (5.9, 4.6), (4.4, 4.8)]
Line = tuple[float, Sequence[tuple[float, float]]]  # slice, points


@pytest.fixture
def series(tmp_path: Path) -> DicomSeries:
    return make_series(tmp_path)


def structure_set(series: DicomSeries, rois: dict[str, list[Line]], kind: str = "CLOSED_PLANAR") -> Dataset:
    dataset = Dataset()
    dataset.Modality, dataset.SeriesInstanceUID = "RTSTRUCT", "9.9"
    structures, contours = [], []
    for number, (name, lines) in enumerate(rois.items(), 1):
        structure, roi = Dataset(), Dataset()
        structure.ROINumber, structure.ROIName = number, name
        structure.ReferencedFrameOfReferenceUID = frame_of_reference(series)
        roi.ReferencedROINumber, roi.ContourSequence = number, []
        for z, points in lines:
            contour = Dataset()
            places = np.array([series.affine @ (x, y, z, 1) for x, y in points])[:, :3] * [-1, -1, 1]  # LPS
            contour.ContourData, contour.ContourGeometricType = [f"{n:.4f}" for n in places.ravel()], kind
            roi.ContourSequence.append(contour)
        structures.append(structure)
        contours.append(roi)
    dataset.StructureSetROISequence, dataset.ROIContourSequence = structures, contours
    return dataset


def read(dataset: Dataset, series: DicomSeries, values: dict[str, int] | None = None, **changes: Any) -> DicomLabel:
    image = {"series": series.uid, "frame_of_reference": frame_of_reference(series)} | changes
    return read_rtstruct(dataset, SHAPE, series.affine, values=values, **image)


def inside(points: Sequence[tuple[float, float]]) -> np.ndarray:
    centres = np.stack(np.meshgrid(range(SHAPE[0]), range(SHAPE[1]), indexing="ij"), axis=-1)
    return Polygon(points, closed=False).contains_points(centres.reshape(-1, 2)).reshape(SHAPE[:2])


@pytest.mark.parametrize("axes", AXES)
def test_voxels_whose_centres_lie_inside(axes: str, tmp_path: Path) -> None:
    series = make_series(tmp_path, axes)
    found = read(structure_set(series, {"tumour": [(2, KITE), (5, HOLE)]}), series, {"tumour": 3})
    expected = np.zeros(SHAPE, dtype=np.uint8)
    expected[:, :, 2], expected[:, :, 5] = inside(KITE) * 3, inside(HOLE) * 3
    assert 0 < expected[:, :, 5].sum() < expected[:, :, 2].sum()
    np.testing.assert_array_equal(found.array, expected)
    assert (found.names, found.notes) == ({3: "tumour"}, [])


@pytest.mark.parametrize("kind", ["CLOSED_PLANAR", "CLOSEDPLANAR_XOR"])
def test_a_contour_in_a_contour_is_a_hole_and_an_island_in_it_is_not(kind: str, series: DicomSeries) -> None:
    island = [(4.8, 2.8), (5.2, 2.8), (5.2, 3.2), (4.8, 3.2)]
    found = read(structure_set(series, {"ring": [(3, KITE), (3, HOLE), (3, island)]}, kind), series)
    ring = inside(KITE) & ~inside(HOLE)
    ring[5, 3] = True
    np.testing.assert_array_equal(found.array[:, :, 3], ring)


def test_a_keyhole_gives_the_same_hole(series: DicomSeries) -> None:
    """PS3.3 C.8.8.6.3: out along a channel of no width, around the hole the other way, and back."""
    keyhole = [*KITE, KITE[0], *HOLE[::-1], HOLE[-1], KITE[0]]
    found = read(structure_set(series, {"ring": [(3, keyhole)]}), series)
    np.testing.assert_array_equal(found.array[:, :, 3], inside(KITE) & ~inside(HOLE))


def test_contours_between_slices_go_to_the_nearest_and_the_note_says_so(series: DicomSeries) -> None:
    found = read(structure_set(series, {"a": [(1.4, KITE), (3.6, HOLE)]}), series)
    assert [z for z in range(SHAPE[2]) if found.array[:, :, z].any()] == [1, 4]
    assert "between slices, on 2 planes" in found.notes[0]


def test_of_two_planes_on_one_slice_the_nearer_counts(series: DicomSeries) -> None:
    found = read(structure_set(series, {"a": [(2.45, HOLE), (1.9, KITE)]}), series)
    np.testing.assert_array_equal(found.array[:, :, 2], inside(KITE))
    assert any("2 planes on 1 slices" in note for note in found.notes)


def test_of_overlapping_rois_the_projects_classes_come_first_then_the_higher_number(series: DicomSeries) -> None:
    rois = {"inner": [(2, HOLE)], "body": [(2, KITE)], "other": [(2, HOLE)]}
    found = read(structure_set(series, rois), series, {"inner": 1})
    assert found.names == {1: "inner", 2: "body", 3: "other"}
    np.testing.assert_array_equal(found.array[:, :, 2], np.where(inside(HOLE), 1, 2 * inside(KITE)))
    found = read(structure_set(series, rois), series)
    np.testing.assert_array_equal(found.array[:, :, 2], np.where(inside(HOLE), 3, 2 * inside(KITE)))
    assert "overlap" in found.notes[-1]


def test_points_open_lines_and_planes_beyond_the_image_are_left_out_and_told(series: DicomSeries) -> None:
    found = read(structure_set(series, {"marker": [(2, HOLE)]}, "POINT"), series)
    assert not found.array.any()
    assert found.names == {1: "marker"}
    assert "1 contours that are points" in found.notes[0]
    found = read(structure_set(series, {"a": [(-1, KITE), (2, HOLE), (7, KITE)]}), series)
    assert found.array.sum() == inside(HOLE).sum()
    assert "2 planes beyond" in found.notes[0]


def test_contours_may_leave_the_image_to_the_side(series: DicomSeries) -> None:
    wide = [(-5, -5), (5.5, -5), (5.5, 30), (-5, 30)]
    found = read(structure_set(series, {"a": [(2, wide)]}), series)
    assert found.array[:6, :, 2].all()
    assert found.array.sum() == 6 * SHAPE[1]


def test_another_frame_of_reference_is_refused(series: DicomSeries) -> None:
    with pytest.raises(StudyError, match=r"RTSTRUCT in the series 9\.9.*another frame of reference"):
        read(structure_set(series, {"a": [(2, KITE)]}), series, frame_of_reference="1.2.3")


def test_contours_across_the_slices_are_refused(series: DicomSeries) -> None:
    dataset = structure_set(series, {"a": [(2, KITE)]})
    contour = dataset.ROIContourSequence[0].ContourSequence[0]
    contour.ContourData = [number + (k == 2) * 6 for k, number in enumerate(contour.ContourData)]
    with pytest.raises(StudyError, match=r"'a' does not lie in a slice"):
        read(dataset, series)


@pytest.mark.parametrize("count", [0, 6, 10])
def test_a_line_that_is_none_is_refused(count: int, series: DicomSeries) -> None:
    dataset = structure_set(series, {"a": [(2, KITE)]})
    contour = dataset.ROIContourSequence[0].ContourSequence[0]
    contour.ContourData = list(contour.ContourData[:count])
    with pytest.raises(StudyError, match=f"no closed line .{count} numbers"):
        read(dataset, series)
