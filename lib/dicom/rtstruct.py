"""An RT Structure Set (PS3.3 A.19) as a label: its contours, filled on the slices of the image they were drawn on.

A voxel belongs to a contour if its centre lies inside or on the line. Contours of one ROI in one plane take from each
other what they share, so that a contour within another one is a hole (``CLOSEDPLANAR_XOR`` in PS3.3 C.8.8.6.3, and the
custom for ``CLOSED_PLANAR``); a hole that is reached by a keyhole channel of one contour comes out alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from skimage.draw import polygon

from lib.dicom.bounded import damage_said
from lib.dicom.label import Canvas, DicomLabel, Segment, check_space, class_values, described
from lib.dicom.stack import RAS_OF_LPS
from lib.errors import StudyError

CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
TILTED = 0.5  # slices; a contour that reaches further along the normal is not drawn on the image's slices
ON_SLICE = 0.1  # slices; a contour nearer than this lies on its slice, as do all contours of one plane


@damage_said
def read_rtstruct(
    dataset: Dataset,
    shape: tuple[int, int, int],
    affine: NDArray,
    *,
    series: str,
    frame_of_reference: str,
    values: Mapping[str, int] | None = None,
) -> DicomLabel:
    """A structure set on its image's grid.

    Contours between two slices go to the nearer one; of several planes that would share a slice, the nearest is taken.
    A slice without a contour is empty. Where ROIs overlap, those of the project's classes lie above the others, and of
    two alike the one with the higher number.

    Args:
        shape, affine: the image's grid, ``(X, Y, Z)`` and from voxels to mm in RAS.
        series, frame_of_reference: UIDs of the image; "" for the latter if it has none.
        values: class name -> value, of the project; ROIs that are none of them get values of their own.

    Raises:
        StudyError: a ROI lies in another frame of reference, on other planes than the image's slices, or is broken.
    """
    values = values or {}
    rois = {int(item.ROINumber): item for item in dataset.get("StructureSetROISequence") or []}
    segments = [Segment(number, str(roi.get("ROIName") or f"ROI {number}")) for number, roi in sorted(rois.items())]
    numbers, names, notes = class_values(series, segments, values)
    contours = {
        int(item.ReferencedROINumber): item.get("ContourSequence") or []
        for item in dataset.get("ROIContourSequence") or []
    }
    canvas = Canvas(shape[::-1])
    for segment in sorted(segments, key=lambda roi: (numbers[roi.number] in values.values(), roi.number)):
        drawn = contours.get(segment.number, [])
        if drawn:
            own = rois[segment.number].get("ReferencedFrameOfReferenceUID") or dataset.get("FrameOfReferenceUID") or ""
            check_space(dataset, str(own), series, frame_of_reference)
        lines = _lines(dataset, series, segment, drawn, affine, notes)
        for z, mask in _filled(segment, lines, shape, notes).items():
            canvas.paint(z, mask.T * np.uint8(numbers[segment.number]))
    notes += canvas.notes()
    return DicomLabel(canvas.array.transpose(2, 1, 0), names, notes)


def _lines(
    dataset: Dataset, series: str, segment: Segment, contours: Sequence[Dataset], affine: NDArray, notes: list[str]
) -> list[NDArray[np.float64]]:
    """The closed contours of a ROI, each ``(N, 3)`` in voxels of the image."""
    to_voxels = np.linalg.inv(affine) @ RAS_OF_LPS
    where = f"{described(dataset)}: a contour of '{segment.name}'"
    lines, others = [], 0
    for contour in contours:
        if contour.get("ContourGeometricType") not in CLOSED:
            others += 1
            continue
        numbers = np.array(contour.get("ContourData") or [], dtype=np.float64)
        if numbers.size % 3 or numbers.size < 9 or not np.isfinite(numbers).all():
            raise StudyError(series, f"{where} is no closed line ({numbers.size} numbers)", "Export it again")
        line = numbers.reshape(-1, 3) @ to_voxels[:3, :3].T + to_voxels[:3, 3]
        if np.ptp(line[:, 2]) > TILTED:
            cause = f"{where} does not lie in a slice of the image, but crosses {np.ptp(line[:, 2]):.1f} of them"
            raise StudyError(series, cause, "Use the series it was drawn on")
        lines.append(line)
    if others:
        notes.append(f"'{segment.name}' has {others} contours that are points or open lines; they are left out")
    return lines


def _filled(
    segment: Segment, lines: Sequence[NDArray], shape: tuple[int, int, int], notes: list[str]
) -> dict[int, NDArray[np.bool_]]:
    """Slice -> mask ``(X, Y)`` of a ROI; adds to the notes."""
    planes: list[tuple[float, list[NDArray]]] = []  # height in slices -> its contours
    for line in sorted(lines, key=_height):
        if not planes or _height(line) - planes[-1][0] > ON_SLICE:
            planes.append((_height(line), []))
        planes[-1][1].append(line)
    nearest: dict[int, tuple[float, list[NDArray]]] = {}
    for height, group in sorted(planes, key=lambda plane: abs(plane[0] - round(plane[0]))):
        nearest.setdefault(round(height), (height, group))
    between = sum(abs(height - z) > ON_SLICE for z, (height, _) in nearest.items())
    beyond = [z for z in nearest if not 0 <= z < shape[2]]
    if between:
        notes.append(
            f"'{segment.name}' has contours between slices, on {between} planes; they went to the nearest slice"
        )
    if len(planes) > len(nearest):
        notes.append(f"'{segment.name}' has {len(planes)} planes on {len(nearest)} slices; the nearest ones are taken")
    if beyond:
        notes.append(f"'{segment.name}' has contours on {len(beyond)} planes beyond the image's slices, left out")
    return {z: _mask(group, shape[:2]) for z, (_, group) in nearest.items() if z not in beyond}


def _mask(lines: Sequence[NDArray], shape: tuple[int, int]) -> NDArray[np.bool_]:
    mask = np.zeros(shape, dtype=bool)
    for line in lines:
        mask[polygon(line[:, 0], line[:, 1], shape)] ^= True
    return mask


def _height(line: NDArray) -> float:
    return float(line[:, 2].mean())
