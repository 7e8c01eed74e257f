"""Where the frames of a segmentation lie: on slices of the image, or on a grid of their own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from lib.dicom.bounded import frame_count
from lib.dicom.frames import Frame
from lib.dicom.label import described
from lib.dicom.stack import RAS_OF_LPS
from lib.errors import StudyError
from lib.studies.labels import GRID_TOLERANCE

ALIKE = 1e-3  # by which direction cosines, and pixel sizes in mm, may differ between frames
SAME_PLACE = 1e-3  # mm along the normal
ASIDE = 0.5  # of a pixel; how far frames may be shifted against each other
MOST_SLICES = 5000  # of an own grid; more would come from uneven distances


@dataclass(frozen=True)
class FrameGrid:
    """The frames' planes.

    Attributes:
        size: columns, rows.
        segments: of each frame, the segment number; 0 in a label map, where the pixels say it.
        positions: of each frame's first pixel, ``(N, 3)`` mm in RAS.
        axes: ``(3, 3)``; its columns lead to the next column, the next row, and 1 mm along the normal, in RAS.
        step: distance of neighbouring planes, mm.
    """

    size: tuple[int, int]
    segments: list[int]
    positions: NDArray[np.float64]
    axes: NDArray[np.float64]
    step: float

    def slices_of(self, shape: tuple[int, ...], affine: NDArray) -> list[int] | None:
        """For each frame the slice of an image ``(X, Y, Z)`` it covers, also beyond its ends; None if one has none."""
        inverse = np.linalg.inv(affine)
        steps = inverse[:3, :3] @ self.axes[:, :2] * (np.array(self.size) - 1)  # over the whole plane, in voxels
        places = self.positions @ inverse[:3, :3].T + inverse[:3, 3]
        slices = np.round(places[:, 2])
        off = np.abs(steps - np.eye(3)[:, :2] * (np.array(self.size) - 1)).max()
        off = max(off, np.abs(places[:, :2]).max(), np.abs(places[:, 2] - slices).max())
        return [int(z) for z in slices] if self.size == tuple(shape[:2]) and off < GRID_TOLERANCE else None

    def own(self) -> tuple[list[int], NDArray[np.float64]]:
        """For each frame its slice on the frames' own even grid, and that grid's 4x4 affine, voxels to mm in RAS."""
        heights = self.positions @ self.axes[:, 2]
        first = int(np.argmin(heights))
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = self.axes * [1, 1, self.step], self.positions[first]
        return [int(k) for k in np.round((heights - heights[first]) / self.step)], affine


def frame_grid(dataset: Dataset, series: str) -> FrameGrid:
    """The planes of a segmentation's frames.

    Raises:
        StudyError: a frame has no usable plane, or they are not parallel and behind each other.
    """
    count = frame_count(dataset) if dataset.get("NumberOfFrames") else 0
    frames = [Frame(dataset, 0, number) for number in range(count)]
    labelmap = dataset.SegmentationType == "LABELMAP"
    segments = [0 if labelmap else int(frame.get("ReferencedSegmentNumber") or 0) for frame in frames]
    positions = _numbers(dataset, series, frames, "ImagePositionPatient", 3) * np.diag(RAS_OF_LPS)[:3]
    orientations = _numbers(dataset, series, frames, "ImageOrientationPatient", 6)
    spacings = _numbers(dataset, series, frames, "PixelSpacing", 2)
    if max(np.ptp(orientations, axis=0).max(), np.ptp(spacings, axis=0).max()) > ALIKE:
        raise StudyError(series, f"{described(dataset)} has frames of different planes", "Store one object for each")
    across, down = orientations[0].reshape(2, 3) * np.diag(RAS_OF_LPS)[:3]
    normal = np.cross(across, down)
    size = int(dataset.get("Columns") or 0), int(dataset.get("Rows") or 0)
    square = np.allclose([across @ across, down @ down, normal @ normal], 1, atol=10 * ALIKE)
    if not square or (spacings <= 0).any() or 0 in size:
        raise StudyError(series, f"{described(dataset)} has no usable geometry", "Export it again")
    heights = positions @ normal
    aside = positions - np.outer(heights, normal)
    if np.abs(aside - aside[0]).max() > ASIDE * spacings.min():
        raise StudyError(series, f"{described(dataset)} has frames that are shifted aside", "Export it without shear")
    axes = np.stack([across * spacings[0, 1], down * spacings[0, 0], normal], axis=1)
    step = _step(frames[0], heights)
    if np.ptp(heights) / step > MOST_SLICES:
        raise StudyError(series, f"{described(dataset)} has frames at uneven distances", "Export it again")
    return FrameGrid(size, segments, positions, axes, step)


def _step(frame: Frame, heights: NDArray) -> float:
    """Distance of neighbouring planes: as written, if the frames lie on that lattice; else the smallest there is."""
    between = np.diff(np.sort(heights))
    between = between[between > SAME_PLACE]
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        written = frame.numbers(keyword, 1)
        if written is not None and written[0] > SAME_PLACE:
            planes = between / written[0]
            if not planes.size or planes.min() > 0.5 and np.abs(planes - np.round(planes)).max() < GRID_TOLERANCE:
                return float(written[0])
    return float(between.min()) if between.size else 1.0


def _numbers(dataset: Dataset, series: str, frames: list[Frame], keyword: str, count: int) -> NDArray[np.float64]:
    rows = [frame.numbers(keyword, count) for frame in frames]
    found = [row for row in rows if row is not None]
    if len(found) < len(frames) or not frames:
        cause = f"{described(dataset)} has frames without a usable {keyword}"
        raise StudyError(series, cause, "Export it again")
    return np.stack(found)
