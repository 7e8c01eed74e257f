"""Are the images of a series one volume, in which order, and where does it lie? Or why not?

Everything is decided by the headers (DICOM PS3.3 C.7.6.2, Image Plane), so that a listing can refuse a series by what
a DICOMweb server says of it, before a pixel is downloaded. Neither InstanceNumber nor SliceLocation, nor the order of
the files, is believed: only ImagePositionPatient and ImageOrientationPatient say where a slice lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from lib.dicom.bounded import damage_said
from lib.dicom.frames import Frame, frames_of
from lib.dicom.images import check_common, check_kind
from lib.errors import StudyError

RAS_OF_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # DICOM's patient coordinates to those of NIfTI, and back
COSINES = 1e-3  # relative, also for pixel sizes: by how much they may differ in a stack; scanners round to 4 digits
SAME_PLACE = 1e-3  # mm; two images nearer than this along the normal lie at one position
UNEVEN = 0.1  # of the slice distance; how far a slice may lie from its place in an even stack
ASIDE = 0.5  # of a pixel; how far the slices may drift aside over the whole stack
TELLS_APART = (  # what differs between images at the same position, the telling ones first
    *("EchoTime", "EffectiveEchoTime", "EchoNumbers", "InversionTime", "FlipAngle", "DiffusionBValue"),
    *("DiffusionGradientOrientation", "TemporalPositionIdentifier", "TemporalPositionIndex", "TriggerTime"),
    *("TemporalPositionTimeOffset", "NominalCardiacTriggerDelayTime", "NominalPercentageOfCardiacPhase"),
    *("ImageType", "FrameType", "ConvolutionKernel", "KVP", "FrameReferenceTime", "AcquisitionNumber"),
)
TIMES = ("AcquisitionTime", "AcquisitionDateTime", "FrameAcquisitionDateTime", "ContentTime")  # without their values


@dataclass(frozen=True)
class Stack:
    """The order and place of a volume's slices.

    Attributes:
        uid: SeriesInstanceUID; empty where an anonymiser took it away.
        frames: in order of increasing position along the normal, row direction x column direction.
        shape: voxels (X, Y, Z) = columns, rows, slices.
        affine: 4x4 from voxels to mm in RAS.
        notes: sentences on what was not as it should be, and what was done.
    """

    uid: str
    frames: list[Frame]
    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    notes: list[str]


def why_not(headers: Sequence[Dataset]) -> str | None:
    """The sentence with which :func:`stack` refuses a series, or None if it is a volume."""
    try:
        stack(headers)
    except StudyError as error:
        return str(error)
    return None


@damage_said
def stack(headers: Sequence[Dataset]) -> Stack:
    """Order and place of the slices of one series.

    Args:
        headers: of all its instances, in any order, with or without pixels; also as DICOMweb metadata give them.

    Raises:
        StudyError: this is not one volume; it says why, and what to do.
    """
    series, frames, notes = _series_uid(headers), frames_of(headers), []
    uid = series or "without SeriesInstanceUID"
    if sum(int(header.get("NumberOfFrames") or 1) for header in headers) > len(frames):
        notes.append("Some instances are there twice; each is used once")
    if not series:
        notes.append("The files have no SeriesInstanceUID; they are taken for one series because they came together")
    check_kind(uid, frames)
    across, down = _directions(uid, _alike(uid, frames, "ImageOrientationPatient", 6))
    check_common(uid, frames)
    spacing = _alike(uid, frames, "PixelSpacing", 2)
    if spacing.min() <= 0:
        cause = f"PixelSpacing is {spacing[0]:g} x {spacing[1]:g} mm"
        raise StudyError(uid, cause, "Export it again with the size of its pixels")
    positions = _numbers(uid, frames, "ImagePositionPatient", 3)
    heights = positions @ np.cross(across, down)
    order = np.argsort(heights, kind="stable")
    frames, positions, heights = [frames[place] for place in order], positions[order], heights[order]

    _check_straight(uid, positions, heights, np.cross(across, down), ASIDE * spacing.min())
    _check_once(uid, frames, heights)
    notes += _check_even(uid, heights)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = across * spacing[1], down * spacing[0]
    affine[:3, 2], affine[:3, 3] = (positions[-1] - positions[0]) / (len(frames) - 1), positions[0]
    shape = int(frames[0].header.Columns), int(frames[0].header.Rows), len(frames)
    return Stack(series, frames, shape, RAS_OF_LPS @ affine, notes)


def _series_uid(headers: Sequence[Dataset]) -> str:
    if not headers:
        raise StudyError("without files", "the series holds no files", "Send it again")
    uids = sorted({str(header.get("SeriesInstanceUID") or "") for header in headers})
    if len(uids) > 1:
        raise StudyError(uids[-1], f"its files belong to {len(uids)} series", "Give the files of one SeriesInstanceUID")
    return uids[0]


def _numbers(uid: str, frames: list[Frame], keyword: str, count: int) -> NDArray[np.float64]:
    """The ``count`` numbers of an attribute of all frames, ``(frames, count)``."""
    values = [numbers for frame in frames if (numbers := frame.numbers(keyword, count)) is not None]
    if len(values) < len(frames):
        cause = f"{keyword} is missing or unusable in {len(frames) - len(values)} of its {len(frames)} images"
        raise StudyError(uid, cause, "Export the series again from where it was made")
    return np.stack(values)


def _alike(uid: str, frames: list[Frame], keyword: str, count: int) -> NDArray[np.float64]:
    """The numbers of an attribute that all frames must share."""
    groups: list[NDArray] = []
    for value in _numbers(uid, frames, keyword, count):
        if not any(np.abs(value - group).max() <= COSINES * np.abs(group).max() for group in groups):
            groups.append(value)
    if len(groups) > 1:
        what = "orientations" if keyword == "ImageOrientationPatient" else "pixel sizes"
        cause = f"its {len(frames)} images have {len(groups)} different {what} ({keyword} differs)"
        raise StudyError(uid, f"{cause}; a localiser may be mixed in", "Split it into one series each")
    return groups[0]


def _directions(uid: str, orientation: NDArray) -> tuple[NDArray, NDArray]:
    across, down = orientation[:3], orientation[3:]
    lengths = np.linalg.norm(orientation.reshape(2, 3), axis=1)
    if not np.allclose(lengths, 1, atol=10 * COSINES) or abs(across @ down) > COSINES:
        raise StudyError(uid, "ImageOrientationPatient is not two unit vectors at a right angle", "Export it again")
    return across / lengths[0], down / lengths[1]


def _check_straight(uid: str, positions: NDArray, heights: NDArray, normal: NDArray, tolerance: float) -> None:
    """Refuse slices that do not lie behind each other: sheared by a tilted gantry, or side by side."""
    along = heights - heights[0]
    aside = positions - positions[0] - np.outer(along, normal)
    if np.linalg.norm(aside, axis=1).max() <= tolerance:
        return
    shear = aside[-1] / along[-1] if along[-1] > SAME_PLACE else np.zeros(3)
    if np.linalg.norm(aside - np.outer(along, shear), axis=1).max() > tolerance:
        raise StudyError(uid, "its slices are shifted against each other unevenly", "Split it into one series a stack")
    angle = np.rad2deg(np.arctan(np.linalg.norm(shear)))
    raise StudyError(
        uid,
        f"its slices are sheared by {angle:.1f} degrees against their normal, as under a tilted gantry",
        "Send a reconstruction without tilt, or one straightened by 3D Slicer (acquisition geometry regularization)",
    )


def _check_once(uid: str, frames: list[Frame], heights: NDArray) -> None:
    """Refuse several images at one position: phases, echoes, b-values, time points, or the same slices sent twice."""
    starts = np.flatnonzero(np.diff(heights, prepend=-np.inf) > SAME_PLACE)
    places = [list(part) for part in np.split(np.arange(len(frames)), starts[1:])]
    most = max(len(place) for place in places)
    if most == 1:
        return
    whole = all(len(place) == most for place in places)
    what = f"{most} volumes lie in it" if whole else f"at some of its {len(places)} positions there are {most} images"
    found = [text for keyword in TELLS_APART + TIMES if (text := _differs(frames, places, keyword))]
    reason = f"{', '.join(found[:3])} differs" if found else "no attribute tells the images apart"
    raise StudyError(uid, f"{what} under one SeriesInstanceUID: {reason}", "Split it into one series each")


def _differs(frames: list[Frame], places: list[list[int]], keyword: str) -> str:
    """An attribute with examples of its values, if it differs between images at one position; else empty."""
    values = [[str(frames[member].get(keyword)) for member in place] for place in places]
    if all(len(set(found)) == 1 for found in values):
        return ""
    examples = list(dict.fromkeys(value for found in values for value in found))
    some = ", ".join(examples[:4]) + (", ..." if len(examples) > 4 else "")
    return keyword if keyword in TIMES else f"{keyword} ({some})"


def _check_even(uid: str, heights: NDArray) -> list[str]:
    """Refuse missing slices and uneven distances; note what is uneven but within the tolerance."""
    steps = np.diff(heights)
    even = np.linspace(heights[0], heights[-1], len(heights))
    error, step = np.abs(heights - even).max(), even[1] - even[0]
    if error <= UNEVEN * step:
        spread = f"Its slice distances vary from {steps.min():.3f} to {steps.max():.3f} mm and are taken as even"
        return [spread] if error > UNEVEN * step / 5 else []
    ratios = steps / steps.min()
    missing = int((ratios.round() - 1).sum())
    if missing and np.abs(ratios - ratios.round()).max() <= 2 * UNEVEN and np.median(ratios) < 10:
        widest = int(np.argmax(steps))
        cause = f"{missing} slice{'s are' if missing > 1 else ' is'} missing: {steps[widest]:.3f} mm between slices"
        cause += f" {widest + 1} and {widest + 2} of {len(heights)}, elsewhere {steps.min():.3f} mm"
        raise StudyError(uid, cause, "Send the whole series again")
    cause = f"its slice distances are uneven, from {steps.min():.3f} to {steps.max():.3f} mm"
    raise StudyError(uid, cause, "Send a reconstruction with even distances")
