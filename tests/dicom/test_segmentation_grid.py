"""The planes of a segmentation's frames, against those of an image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from lib.dicom.segmentation_grid import frame_grid
from lib.dicom.segmentation_write import write_segmentation
from lib.dicom.series import DicomSeries
from lib.errors import StudyError
from tests.dicom.label_phantoms import NAMES, make_label, make_series, through_file


@pytest.fixture
def series(tmp_path: Path) -> DicomSeries:
    return make_series(tmp_path, "oblique")


def on_slices(series: DicomSeries, slices: list[int]) -> Dataset:
    label = np.zeros_like(make_label())
    label[2, 3, slices] = 1
    return through_file(write_segmentation(label, NAMES, series.headers))


def test_frames_cover_slices_of_their_image(series: DicomSeries) -> None:
    grid = frame_grid(on_slices(series, [1, 4, 5]), series.uid)
    assert grid.slices_of(series.array.shape, series.affine) == [1, 4, 5]
    moved = series.affine.copy()
    moved[:3, 3] += moved[:3, 2]
    assert grid.slices_of(series.array.shape, moved) == [0, 3, 4]
    moved[:3, 3] += 0.3 * moved[:3, 2]
    assert grid.slices_of(series.array.shape, moved) is None
    turned = series.affine @ np.diag([-1, -1, 1, 1])
    assert grid.slices_of(series.array.shape, turned) is None
    assert grid.slices_of((14, 10, 7), series.affine) is None


def test_own_grid_keeps_the_gaps(series: DicomSeries) -> None:
    slices, affine = frame_grid(on_slices(series, [1, 4, 6]), series.uid).own()
    assert slices == [0, 3, 5]
    np.testing.assert_allclose(affine[:3, :3], series.affine[:3, :3], atol=1e-4)
    np.testing.assert_allclose(affine[:3, 3], (series.affine @ [0, 0, 1, 1])[:3], atol=1e-4)


@pytest.mark.parametrize(("written", "step"), [(None, 6.0), (3.0, 3.0), (6.0, 6.0), (4.0, 6.0), (12.0, 6.0)])
def test_a_distance_that_does_not_fit_the_frames_is_not_believed(
    written: float | None, step: float, series: DicomSeries
) -> None:
    dataset = on_slices(series, [0, 2, 6])
    measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    measures.SpacingBetweenSlices, measures.SliceThickness = written, None
    assert frame_grid(dataset, series.uid).step == pytest.approx(step, abs=1e-3)


def test_planes_of_several_kinds_are_refused(series: DicomSeries) -> None:
    dataset = on_slices(series, [1, 4])
    own = Dataset()
    own.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.PerFrameFunctionalGroupsSequence[1].PlaneOrientationSequence = [own]
    with pytest.raises(StudyError, match="different planes"):
        frame_grid(dataset, series.uid)


def test_shifted_and_uneven_frames_are_refused(series: DicomSeries) -> None:
    dataset = on_slices(series, [1, 4, 5])
    position = dataset.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0]
    across = np.array(series.headers[0].ImageOrientationPatient[:3], dtype=float)
    there = np.array(position.ImagePositionPatient, dtype=float)
    position.ImagePositionPatient = [round(number, 6) for number in there + 2 * across]
    with pytest.raises(StudyError, match="shifted"):
        frame_grid(dataset, series.uid)
    normal = np.cross(across, np.array(series.headers[0].ImageOrientationPatient[3:], dtype=float))
    second = dataset.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence[0]
    position.ImagePositionPatient = [round(number, 6) for number in there]
    second.ImagePositionPatient = [round(number, 6) for number in there + 0.0017 * normal]
    with pytest.raises(StudyError, match="uneven"):
        frame_grid(dataset, series.uid)
