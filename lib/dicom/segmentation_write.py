"""A label as a DICOM Segmentation (PS3.3 A.51), by highdicom: BINARY, one segment a class, on its series' grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from highdicom import UID, AlgorithmIdentificationSequence, PlanePositionSequence
from highdicom.seg import Segmentation, SegmentDescription
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from lib.dicom.codes import coded_terms, colour
from lib.dicom.segmentation_source import is_multiframe, source_images
from lib.dicom.stack import stack
from lib.errors import StudyError

SERIES_NUMBERS = 1000  # in its study, a segmentation has the number of its series plus this
AUTOMATIC, SEMIAUTOMATIC, MANUAL = "AUTOMATIC", "SEMIAUTOMATIC", "MANUAL"
DESCRIPTIONS = {
    AUTOMATIC: "Segmentation, not reviewed",
    SEMIAUTOMATIC: "Segmentation, reviewed",
    MANUAL: "Segmentation, reviewed",
}


class BinarySegmentation(Segmentation):
    """highdicom's, with its pixels packed in a tenth of the time and a third of the memory."""

    def _encode_pixels_native(self, planes: NDArray[np.uint8]) -> bytes:
        """Eight pixels a byte, the first in the lowest bit (PS3.5 8.1.1); pydicom's ``pack_bits`` makes four copies."""
        return np.packbits(planes, bitorder="little").tobytes()


def write_segmentation(
    label: NDArray,
    names: Mapping[int, str],
    headers: Sequence[Dataset],
    *,
    automatic: bool = False,
    version: str = "",
    creator: str = "",
    description: str = "",
    codes: Sequence[str] = (),
    colours: Sequence[str] = (),
) -> Segmentation:
    """A label of a series as a dataset to store or to send.

    Each class has its segment, in the order of the values, also one that does not occur: the next reader then knows
    that it was looked for. Frames without a voxel are left out. A label without any voxel keeps one empty frame a
    segment, since an object needs frames: "reviewed, nothing there".

    Args:
        label: ``(X, Y, Z)`` of values, on the series' grid: X its columns, Y its rows, Z its slices by increasing
            position along the normal (row direction x column direction).
        names: value -> class name, for all classes of the project; the values themselves are not stored.
        headers: of all the series' instances, in any order, with or without pixels.
        automatic: the label is the model's own, nobody has reviewed it.
        version: of that model; of a reviewed label, of the model whose suggestion was corrected, if there was one.
        creator: who made the label, for ContentCreatorName.
        description: for SeriesDescription; by default, whether it was reviewed.
        codes, colours: the settings of these names.

    Raises:
        StudyError: the series is no volume, the label has another shape than it, or a value without a name.
    """
    found = stack(headers)
    if label.shape != found.shape:
        cause = f"a label of shape {label.shape} does not fit the series, which has {found.shape}"
        raise StudyError(found.uid, cause, "Submit the label on the series' own grid")
    planes = _segment_numbers(label, names, found.uid).transpose(2, 1, 0)
    if is_multiframe(found):  # highdicom wants the frames in the order of their source's
        planes = planes[np.argsort([frame.number for frame in found.frames])]
    frames = np.ascontiguousarray(planes)
    sources, header = source_images(found), found.frames[0].header
    empty = not frames.any()
    kind = AUTOMATIC if automatic else SEMIAUTOMATIC if version else MANUAL
    segments = [
        _segment(number, names[value], kind, version, codes, colours) for number, value in enumerate(sorted(names), 1)
    ]
    dataset = BinarySegmentation(
        source_images=sources,
        # highdicom would write every frame of an empty label: 100 MB for ten classes on a usual CT
        pixel_array=frames[:1] if empty else frames,
        plane_positions=_first_position(sources[0]) if empty else None,
        omit_empty_frames=not empty,
        segmentation_type="BINARY",
        segment_descriptions=segments,
        series_instance_uid=UID(),
        series_number=SERIES_NUMBERS + int(header.get("SeriesNumber") or 0),
        sop_instance_uid=UID(),
        instance_number=1,
        manufacturer="semiseg",
        manufacturer_model_name="semiseg",
        software_versions=version or "none",
        device_serial_number="none",
        content_label="SEGMENTATION",
        content_description="Nothing found" if empty else None,
        series_description=(description or DESCRIPTIONS[kind])[:64],  # VR LO
    )
    dataset.copy_patient_and_study_information(header)
    dataset.SpecificCharacterSet = "ISO_IR 192"  # names of patients and classes in any script
    dataset.ContentCreatorName = creator
    dataset.SeriesDate, dataset.SeriesTime = dataset.ContentDate, dataset.ContentTime
    return dataset


def _segment_numbers(label: NDArray, names: Mapping[int, str], series: str) -> NDArray[np.uint8]:
    """The label with its values replaced by 1, 2, ..."""
    values = sorted(names)
    table = np.zeros(256, dtype=np.uint8)
    table[values] = np.arange(1, len(values) + 1)
    whole = label.astype(np.uint8, copy=False)
    occurs = np.zeros(256, dtype=bool)
    occurs[whole] = True
    strange = [int(value) for value in np.flatnonzero(occurs) if value and value not in names]
    if strange or label.dtype != np.uint8 and not np.array_equal(whole, label):
        known = ", ".join(f"{value}={names[value]}" for value in values)
        cause = f"the label holds values without a name ({strange or 'beyond 255'}; the classes: {known})"
        raise StudyError(series, cause, "Name them with --conf labels or correct the label")
    return table[whole]


def _segment(
    number: int, name: str, kind: str, version: str, codes: Sequence[str], colours: Sequence[str]
) -> SegmentDescription:
    family = Code("123110", "DCM", "Artificial Intelligence")  # CID 7162
    category, term = coded_terms(name, codes)
    algorithm = AlgorithmIdentificationSequence("semiseg", family, version or "none")
    segment = SegmentDescription(
        segment_number=number,
        segment_label=name[:64],  # VR LO
        segmented_property_category=category,
        segmented_property_type=term,
        algorithm_type=kind,
        algorithm_identification=None if kind == MANUAL else algorithm,
        tracking_uid=UID(),
        tracking_id=name,
    )
    segment.RecommendedDisplayCIELabValue = colour(name, number - 1, colours)
    return segment


def _first_position(source: Dataset) -> list[PlanePositionSequence]:
    """Where the one frame of an empty label lies: in the plane of the first image."""
    frames = source.get("PerFrameFunctionalGroupsSequence")
    plane = frames[0].PlanePositionSequence[0] if frames else source
    return [PlanePositionSequence("PATIENT", image_position=plane.ImagePositionPatient)]
