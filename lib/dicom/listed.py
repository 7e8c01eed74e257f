"""What a DICOM server has for us: series to segment, and the objects that label them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from lib.dicom.label import Segment, class_values, referenced_series
from lib.dicom.segmentation_read import segments_of

LABELS = ("SEG", "RTSTRUCT")  # Modality of the objects that label a series
SHOWN = ("PatientID", "StudyDate", "StudyTime", "SeriesDescription", "RetrieveURL")  # what viewers ask for


@dataclass(frozen=True)
class Series:
    """A series of images.

    Attributes:
        uid, study: SeriesInstanceUID and StudyInstanceUID.
        modality: Modality, such as ``CT``.
        instances: how many there are; 0 if the server does not say.
        frame: FrameOfReferenceUID; empty if the server does not say.
        about: further attributes by keyword, for clients.
    """

    uid: str
    study: str
    modality: str
    instances: int
    frame: str = ""
    about: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, row: Dataset) -> Series:
        """From the answer to a query."""
        about = {keyword: str(row.get(keyword) or "") for keyword in SHOWN}
        return cls(*_identity(row), str(row.get("FrameOfReferenceUID") or ""), about)


@dataclass(frozen=True)
class LabelObject:
    """A segmentation or structure set.

    Attributes:
        uid, study, modality, instances: as of a series, which it is.
        of: SeriesInstanceUID of the images it was drawn on; empty if it does not say.
        made: date and time as text that sorts, of its content.
        segments: number, name and coded term (value, scheme, meaning; or none) of each segment or ROI.
    """

    uid: str
    study: str
    modality: str
    instances: int
    of: str
    made: str
    segments: list[tuple[int, str, list[str]]]

    @classmethod
    def read(cls, row: Dataset, header: Dataset) -> LabelObject:
        """From the answer to a query and the attributes of one of its instances."""
        segments = [
            (each.number, each.name, [str(part) for part in (each.term or ())[:3]]) for each in _segments(header)
        ]
        return cls(*_identity(row), referenced_series(header) or "", made(header), segments)

    def names(self, values: Mapping[str, int], codes: tuple[str, ...] = ()) -> dict[int, str]:
        """Value -> class name of the label when it is read (see :func:`lib.dicom.label.class_values`).

        Raises:
            StudyError: more classes than values.
        """
        segments = [Segment(number, name, Code(*term) if term else None) for number, name, term in self.segments]
        return class_values(self.of, segments, values, codes)[1]


def has_references(row: Dataset) -> bool:
    """Does the answer to a query say already what a label object refers to and which segments it has?"""
    return "ReferencedSeriesSequence" in row and "SegmentSequence" in row


def made(header: Dataset) -> str:
    """When the content of an object was made, as text that sorts."""
    for kind in ("Content", "StructureSet", "InstanceCreation", "Series"):
        if header.get(f"{kind}Date"):
            return f"{header.get(f'{kind}Date')} {header.get(f'{kind}Time') or ''}"
    return ""


def _identity(row: Dataset) -> tuple[str, str, str, int]:
    count = row.get("NumberOfSeriesRelatedInstances")
    return str(row.SeriesInstanceUID), str(row.StudyInstanceUID), str(row.get("Modality") or ""), int(count or 0)


def _segments(header: Dataset) -> list[Segment]:
    if header.get("Modality") != "RTSTRUCT":
        return segments_of(header)
    rois = {int(item.ROINumber): item for item in header.get("StructureSetROISequence") or []}
    return [Segment(number, str(roi.get("ROIName") or f"ROI {number}")) for number, roi in sorted(rois.items())]
