"""A DICOM Segmentation (PS3.3 A.51), of this program or another one, as a label on the grid of its image.

Read frame by frame with pydicom, since each frame says itself where it lies and which segment it shows: frames may come
in any order, most of them may be missing, and they may lie on another grid than the image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from lib.dicom.bounded import damage_said
from lib.dicom.codes import BACKGROUND
from lib.dicom.label import Canvas, DicomLabel, Segment, check_space, class_values, described
from lib.dicom.pixels import stored_values
from lib.dicom.segmentation_grid import FrameGrid, frame_grid
from lib.errors import StudyError
from lib.studies.alignment import on_grid

TYPES = ("BINARY", "FRACTIONAL", "LABELMAP")


@damage_said
def read_segmentation(
    dataset: Dataset,
    shape: tuple[int, int, int],
    affine: NDArray,
    *,
    series: str,
    frame_of_reference: str,
    values: Mapping[str, int] | None = None,
    codes: Sequence[str] = (),
) -> DicomLabel:
    """A segmentation on its image's grid.

    A frame that is missing is empty. Where segments overlap, those of the project's classes lie above the others, and
    of two alike the one with the higher number. Of a fraction or probability, half and more counts. From another grid,
    each of the image's voxels takes the value at its centre.

    Args:
        shape, affine: the image's grid, ``(X, Y, Z)`` and from voxels to mm in RAS.
        series, frame_of_reference: UIDs of the image; "" for the latter if it has none.
        values: class name -> value, of the project; segments that are none of them get values of their own.
        codes: the setting of that name.

    Raises:
        StudyError: it lies in another frame of reference, is truncated, of an unknown type, or without a usable
            geometry.
    """
    values = values or {}
    check_space(dataset, str(dataset.get("FrameOfReferenceUID") or ""), series, frame_of_reference)
    if dataset.get("SegmentationType") not in TYPES:
        cause = f"{described(dataset)} is of the type {dataset.get('SegmentationType')}, which cannot be read"
        raise StudyError(series, cause, f"Store it as one of {', '.join(TYPES)}")
    numbers, names, notes = class_values(series, segments_of(dataset), values, codes)
    grid = frame_grid(dataset, series)
    _check_described(dataset, series, set() if dataset.SegmentationType == "LABELMAP" else set(grid.segments))
    if dataset.SegmentationType == "FRACTIONAL":
        notes.append("It holds fractions; half and more counts as the class")
    planes = _planes(dataset, series, grid, numbers)
    order = sorted(range(len(grid.segments)), key=lambda frame: _layer(grid.segments[frame], numbers, values))
    array = _laid_out(grid, planes, order, shape, affine, notes)
    return DicomLabel(array, names, notes)


def segments_of(dataset: Dataset) -> list[Segment]:
    """The segments but for the background, which label maps describe as one."""
    segments = []
    for item in dataset.get("SegmentSequence") or []:
        number, term = int(item.SegmentNumber), _term(item)
        if number and (term is None or (term.value, term.scheme_designator) != BACKGROUND):
            name = str(item.get("SegmentLabel") or "").strip() or (term.meaning if term else "")
            segments.append(Segment(number, name or f"Segment {number}", term))
    return segments


def _term(item: Dataset) -> Code | None:
    """The coded type of a segment, if it is a term that pydicom can compare."""
    for code in item.get("SegmentedPropertyTypeCodeSequence") or []:
        term = Code(str(code.get("CodeValue")), str(code.get("CodingSchemeDesignator")), str(code.get("CodeMeaning")))
        with suppress(KeyError):  # codes of the old SNOMED RT are looked up, and not all are known
            return term if term == term else None
    return None


def _check_described(dataset: Dataset, series: str, used: set[int]) -> None:
    unnamed = sorted(used - {int(item.SegmentNumber) for item in dataset.get("SegmentSequence") or []})
    if unnamed:
        raise StudyError(series, f"{described(dataset)} does not describe its segments {unnamed}", "Export it again")


def _layer(segment: int, numbers: Mapping[int, int], values: Mapping[str, int]) -> tuple[bool, int]:
    """Frames are painted in ascending order of this."""
    return numbers.get(segment) in values.values(), segment


def _planes(
    dataset: Dataset, series: str, grid: FrameGrid, numbers: Mapping[int, int]
) -> Callable[[int], NDArray[np.uint8]]:
    """A function from a frame's place to its values ``(rows, columns)``."""
    if dataset.SegmentationType == "LABELMAP":
        pixels = stored_values(series, dataset)
        _check_described(dataset, series, {int(n) for n in np.unique(pixels)} - {0, dataset.get("PixelPaddingValue")})
        table = np.zeros(int(pixels.max()) + 1, dtype=np.uint8)
        for number, value in numbers.items():
            table[number : number + 1] = value  # of a number that no pixel has, nothing
        return lambda frame: table[pixels[frame]]

    def value_of(frame: int) -> np.uint8:
        return np.uint8(numbers.get(grid.segments[frame], 0))  # of the background, if it has a segment

    if dataset.SegmentationType == "FRACTIONAL":
        fractions, half = stored_values(series, dataset), float(dataset.get("MaximumFractionalValue") or 255) / 2
        return lambda frame: (fractions[frame] >= half) * value_of(frame)
    if dataset.BitsAllocated != 1 or dataset.file_meta.TransferSyntaxUID.is_encapsulated:  # against the standard
        whole = stored_values(series, dataset)
        return lambda frame: (whole[frame] > 0) * value_of(frame)
    bits, (columns, rows) = np.frombuffer(dataset.get("PixelData") or b"", dtype=np.uint8), grid.size
    size = columns * rows
    if bits.size * 8 < size * len(grid.segments):
        raise StudyError(series, f"{described(dataset)} is truncated", "Store it again")

    def unpacked(frame: int) -> NDArray[np.uint8]:  # one by one: all of them take a byte for each pixel
        first = frame * size  # frames need not begin at a whole byte (PS3.5 8.1.1)
        part = np.unpackbits(bits[first // 8 : -(-(first + size) // 8)], bitorder="little")
        return part[first % 8 : first % 8 + size].reshape(rows, columns) * value_of(frame)

    return unpacked


def _laid_out(
    grid: FrameGrid,
    planes: Callable[[int], NDArray[np.uint8]],
    order: Sequence[int],
    shape: tuple[int, int, int],
    affine: NDArray,
    notes: list[str],
) -> NDArray[np.uint8]:
    """The frames on the image's grid; adds to the notes."""
    slices = grid.slices_of(shape, affine)
    if slices is not None:
        canvas = Canvas(shape[::-1])
        beyond = 0
        for frame in order:
            plane = planes(frame)
            if 0 <= slices[frame] < shape[2]:
                canvas.paint(slices[frame], plane)
            else:
                beyond += bool(plane.any())
        if beyond:
            notes.append(f"{beyond} of its frames lie beyond the image's slices and are left out")
        array = canvas.array.transpose(2, 1, 0)
    else:
        slices, own = grid.own()
        canvas = Canvas((max(slices) + 3, grid.size[1] + 2, grid.size[0] + 2))  # with a border of background
        own[:3, 3] -= own[:3, :3].sum(axis=1)
        for frame in order:
            canvas.paint(slices[frame] + 1, np.pad(planes(frame), 1))
        array = on_grid(canvas.array.transpose(2, 1, 0), own, shape, affine, order=0, outside=0)
        notes.append("It lies on another grid than the image; each voxel of the image took the nearest value")
    notes += canvas.notes()
    return array
