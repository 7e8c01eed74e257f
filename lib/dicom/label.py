"""What DICOM segmentations and structure sets have in common: what they refer to, and which classes they hold."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from lib.dicom.codes import TISSUE, coded_terms
from lib.errors import StudyError
from lib.studies.bounds import check_size

SEGMENTATION_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")  # the latter of label maps
RTSTRUCT_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"


@dataclass(frozen=True)
class DicomLabel:
    """A label from a DICOM object, on the grid of its image.

    Attributes:
        array: uint8 ``(X, Y, Z)``; 0 is background, also where nothing was drawn at all.
        names: value -> class name for all segments of the object, also those without a voxel.
        notes: sentences on what was not as it should be, and what was done.
    """

    array: NDArray[np.uint8]
    names: dict[int, str]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Segment:
    """A segment or ROI of an object: its number and name there, the coded term of what it shows if there is one."""

    number: int
    name: str
    term: Code | None = None


def referenced_series(dataset: Dataset) -> str | None:
    """SeriesInstanceUID of the images a SEG or RTSTRUCT was drawn on; None where it does not say.

    Programs write it into the Common Instance Reference (PS3.3 C.12.2), of this study or of another one, or, in a
    structure set, below its frames of reference (C.8.8.5). Of several series, it is the one with the most instances.
    """
    found: dict[str, int] = {}
    for item in _series_items(dataset):
        uid = str(item.get("SeriesInstanceUID") or "")
        instances = item.get("ReferencedInstanceSequence") or item.get("ContourImageSequence") or []
        if uid:
            found[uid] = found.get(uid, 0) + len(instances)
    return max(found, key=lambda uid: found[uid]) if found else None


def _series_items(dataset: Dataset) -> Iterator[Dataset]:
    yield from dataset.get("ReferencedSeriesSequence") or []
    for study in dataset.get("StudiesContainingOtherReferencedInstancesSequence") or []:
        yield from study.get("ReferencedSeriesSequence") or []
    for frame in dataset.get("ReferencedFrameOfReferenceSequence") or []:
        for study in frame.get("RTReferencedStudySequence") or []:
            yield from study.get("RTReferencedSeriesSequence") or []


def check_space(dataset: Dataset, own: str, series: str, frame_of_reference: str) -> None:
    """Does this object lie in the same space as the image? Its frame of reference decides.

    An object whose reference is gone, or was made on another series, is right if both share the frame of reference.
    Where one of them has none, it must refer to this very series.

    Args:
        own: the object's frame of reference; "" if it has none.
        series, frame_of_reference: of the image; "" for the latter if it has none.

    Raises:
        StudyError: it lies elsewhere.
    """
    if own and frame_of_reference:
        if own != frame_of_reference:
            cause = f"{described(dataset)} lies in another frame of reference"
            raise StudyError(series, cause, "Register the two series and draw it again on this one")
    elif referenced_series(dataset) != series:
        cause = f"{described(dataset)} neither shares a frame of reference with the series nor refers to it"
        raise StudyError(series, cause, "Draw it again on this series")


def described(dataset: Dataset) -> str:
    """The object in words, without any of the patient's."""
    return f"its {dataset.get('Modality') or 'label'} in the series {dataset.get('SeriesInstanceUID') or 'unknown'}"


def class_values(
    series: str, segments: Sequence[Segment], values: Mapping[str, int], codes: Sequence[str] = ()
) -> tuple[dict[int, int], dict[int, str], list[str]]:
    """Which class each segment is.

    By name first, where capitals, spaces and signs between words do not count; then by its coded term, if just one
    class has that term and no segment has that class's name. The others keep their names and get values that no class
    has.

    Args:
        values: class name -> value, of the project; may be empty.
        codes: the setting of that name.

    Returns:
        Segment number -> value, value -> name for these, and notes.

    Raises:
        StudyError: more classes than 255.
    """
    plain = {_plain(name): name for name in values}
    matched = {segment.number: plain[_plain(segment.name)] for segment in segments if _plain(segment.name) in plain}
    notes = []
    free = [name for name in values if name not in matched.values()]
    terms = {name: coded_terms(name, codes)[1] for name in free}
    for segment in segments:
        if segment.number in matched or segment.term is None or segment.term == TISSUE:
            continue
        alike = [name for name in free if terms[name] == segment.term]
        if len(alike) == 1:
            matched[segment.number] = alike[0]
            notes.append(f"Segment '{segment.name}' is taken for the class '{alike[0]}', by its coded term")
    found: dict[int, int] = {}
    names: dict[int, str] = {}
    fresh: dict[str, int] = {}
    for segment in segments:
        if segment.number in matched:
            value, name = values[matched[segment.number]], matched[segment.number]
        else:
            name = segment.name
            value = fresh.setdefault(_plain(name) or name, _unused({*values.values(), *fresh.values()}))
        found[segment.number] = value
        names.setdefault(value, name)
    if max(names, default=0) > 255:
        raise StudyError(series, f"its label and the project have {max(names)} classes, more than 255", "Use fewer")
    return found, names, notes


def _unused(taken: set[int]) -> int:
    return next(value for value in range(1, len(taken) + 2) if value not in taken)


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()


class Canvas:
    """A label under the brush: what is painted later lies on top, and overlaps are counted."""

    def __init__(self, shape: Sequence[int]) -> None:
        check_size("a label's own grid", shape)
        self.array = np.zeros(tuple(shape), dtype=np.uint8)
        self.overlap = 0  # voxels that two segments of different classes claim

    def paint(self, slice_: int, plane: NDArray[np.uint8]) -> None:
        """Lay values ``(rows, columns)`` on one of the slices; 0 leaves what is there."""
        below = self.array[slice_]
        self.overlap += int(np.count_nonzero((below != plane) & (below > 0) & (plane > 0)))
        np.copyto(below, plane, where=plane > 0)

    def notes(self) -> list[str]:
        """A sentence on overlaps, if there are any."""
        rule = "there the project's classes lie above others, and else the higher number"
        return [f"Segments overlap in {self.overlap} voxels; {rule}"] if self.overlap else []
