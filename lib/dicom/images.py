"""What the images of a series must be before anybody asks how they are stacked."""

from __future__ import annotations

from lib.dicom.frames import Frame
from lib.errors import StudyError

NOT_IMAGES = ("SEG", "RTSTRUCT", "RTDOSE", "RTPLAN", "SR", "KO", "PR", "RWV", "REG", "DOC")  # values of Modality
PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30"


def check_kind(uid: str, frames: list[Frame]) -> None:
    """Refuse what is no set of images in the patient.

    Raises:
        StudyError: no images, or coloured ones, localisers, mosaics, pictures and projections, a single slice.
    """
    header, total = frames[0].header, len(frames)
    modality = str(header.get("Modality") or "unknown")
    if modality in NOT_IMAGES or header.get("SOPClassUID") == PARAMETRIC_MAP or not header.get("Rows"):
        raise StudyError(uid, f"it holds no image to segment (Modality {modality})", "Choose the series it refers to")
    if any(frame.get("SamplesPerPixel") not in (None, 1) for frame in frames) or any(
        frame.get("PhotometricInterpretation") == "PALETTE COLOR" for frame in frames
    ):
        raise StudyError(uid, f"its images are coloured (Modality {modality})", "Choose a series of grey values")
    types = [{*_texts(frame.get("ImageType")), *_texts(frame.get("FrameType"))} for frame in frames]
    scouts = sum("LOCALIZER" in kind for kind in types)
    if scouts:
        what = (
            "it is a localiser" if scouts == total else f"localisers lie among its slices, {scouts} of {total} images"
        )
        raise StudyError(uid, f"{what} (ImageType LOCALIZER)", "Choose the series that was planned on it")
    if any("MOSAIC" in kind for kind in types):
        raise StudyError(uid, "its images are mosaics: all slices side by side in one", "Export it as single slices")
    if any(frame.shares_its_place for frame in frames) or not any(
        frame.get("ImagePositionPatient") for frame in frames
    ):
        what = "its images have" if total > 1 else "it is a single picture with"
        raise StudyError(uid, f"{what} no position in the patient (Modality {modality})", "Choose a series of slices")
    if total == 1:
        raise StudyError(uid, f"it is a single slice (Modality {modality})", "Choose a series of at least two slices")


def check_common(uid: str, frames: list[Frame]) -> None:
    """Refuse images of different sizes or in different spaces, and values that are none.

    Raises:
        StudyError: different Rows or Columns, frames of reference or stacks; a RescaleSlope of 0.
    """
    sizes = sorted({(int(frame.header.get("Columns") or 0), int(frame.header.get("Rows") or 0)) for frame in frames})
    if len(sizes) > 1 or 0 in sizes[0]:
        found = ", ".join(f"{columns} x {rows}" for columns, rows in sizes)
        raise StudyError(uid, f"its images are of different sizes ({found} pixels)", "Split it into series of one size")
    for keyword, what in (("FrameOfReferenceUID", "frames of reference"), ("StackID", "stacks")):
        count = len({str(frame.get(keyword)) for frame in frames})
        if count > 1:
            raise StudyError(uid, f"it mixes {count} {what} ({keyword} differs)", "Split it into one series each")
    if any(frame.rescale()[0] == 0 for frame in frames):
        raise StudyError(uid, "RescaleSlope is 0, so all values would be equal", "Export it again")


def _texts(value: object) -> list[str]:
    """The parts of a multi-valued text, which pydicom gives as a text if there is but one."""
    parts = [] if value is None else [value] if isinstance(value, str) else list(value)  # type: ignore[call-overload]
    return [str(part).upper() for part in parts]
