"""A volume as a DICOM series, as a scanner would have sent it: for the demo studies in a PACS, and for the tests.

Attributes follow the image IODs of DICOM PS3.3 A.3 (CT), A.4 (MR) and A.21 (PET). Every UID is made from texts, so the
same call writes the same study again: an archive keeps one copy of it, and OHIF and 3D Slicer find it under one name.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, RLELossless, generate_uid
from pydicom.valuerep import DSfloat

from lib.errors import StudyError

CLASSES = {
    "CT": UID("1.2.840.10008.5.1.4.1.1.2"),
    "MR": UID("1.2.840.10008.5.1.4.1.1.4"),
    "PT": UID("1.2.840.10008.5.1.4.1.1.128"),
}
IMAGE_TYPES: dict[str, list[str]] = {"CT": ["AXIAL"], "MR": ["OTHER"], "PT": []}  # the third value
LPS_OF_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # its own inverse
MODALITY_ATTRIBUTES: dict[str, dict[str, Any]] = {
    "CT": {"KVP": 120, "AcquisitionNumber": 1, "RescaleType": "HU"},
    "MR": {
        "ScanningSequence": "GR",
        "SequenceVariant": "NONE",
        "ScanOptions": "",
        "MRAcquisitionType": "3D",
        "RepetitionTime": 10,
        "EchoTime": 5,
        "EchoTrainLength": 1,
    },
    "PT": {
        "Units": "BQML",
        "CountsSource": "EMISSION",
        "SeriesType": ["WHOLE BODY", "IMAGE"],
        "CorrectedImage": ["DECY", "ATTN"],
        "DecayCorrection": "START",
        "CollimatorType": "NONE",
        "ActualFrameDuration": 60_000,
        "FrameReferenceTime": 30_000,
        "RadiopharmaceuticalInformationSequence": [],
        "PatientOrientationCodeSequence": [],
        "PatientGantryRelationshipCodeSequence": [],
    },
}


def write_series(
    array: NDArray,
    affine: NDArray,
    folder: Path | str,
    *,
    modality: str = "MR",
    study: str = "phantom",
    series: str = "1",
    patient: str = "",
    frame_of_reference: str = "",
    description: str = "",
    number: int = 1,
    date: str = "20240101",
    time: str = "120000",
    compressed: bool = False,
) -> list[Path]:
    """Write one single-frame DICOM file a slice.

    Args:
        array: ``(X, Y, Z)``: X becomes the columns, Y the rows and Z the slices, in the order of InstanceNumber. Whole
            numbers that fit into 16 bits are stored as they are; others with a RescaleSlope, in PET one for each slice.
        affine: 4x4 from voxels to mm in RAS, of any orthogonal orientation. Where its Z axis runs against the normal
            (row direction x column direction), a reader gives the slices back in the opposite order.
        folder: made if it is not there.
        modality: ``CT``, ``MR`` or ``PT``.
        study, series: texts, of which the UIDs are made; series of one study have the same ``study``.
        patient: PatientID and PatientName; by default ``study``. A pseudonym, never a person's name.
        frame_of_reference: text; by default ``study``: all series of a study lie in one patient space.
        description: SeriesDescription, by default the modality.
        number: SeriesNumber.
        date, time: of the study, ``YYYYMMDD`` and ``HHMMSS``.
        compressed: RLE Lossless, the one compression pydicom writes by itself.

    Returns:
        The files, in the order of Z.

    Raises:
        StudyError: an affine with shear, which a series cannot hold, or an array that is no volume.
    """
    array, affine = np.asarray(array), np.asarray(affine, dtype=np.float64)
    if array.ndim != 3 or 0 in array.shape:
        raise StudyError(study, f"an array of shape {array.shape} is no volume", "Give one of (X, Y, Z)")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    directions = affine[:3, :3] / spacing
    if not np.allclose(directions.T @ directions, np.eye(3), atol=1e-4):
        raise StudyError(study, "its affine is sheared, and a series is a stack along its normal", "Resample it first")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)

    shared = _shared(modality, study, series, patient or study, frame_of_reference or study, date, time)
    shared.SeriesDescription, shared.SeriesNumber = description or modality, number
    _add_plane(shared, LPS_OF_RAS @ affine, spacing, array.shape)
    _add_window(shared, array)
    slopes = _rescale(array, per_slice=modality == "PT")
    files = []
    for z in range(array.shape[2]):
        frame = Dataset()
        frame.update(shared)
        frame.SOPInstanceUID = uid("instance", study, series, str(z))
        frame.InstanceNumber = z + 1
        frame.ImagePositionPatient = decimals((LPS_OF_RAS @ affine @ [0, 0, z, 1])[:3])
        if modality == "PT":
            frame.ImageIndex, frame.NumberOfSlices = z + 1, array.shape[2]
        _add_pixels(frame, array[:, :, z], *slopes[z])
        files.append(_save(frame, folder / f"{z + 1:04d}.dcm", compressed))
    return files


def uid(*texts: str) -> UID:
    """The UID of these texts: always the same. ``uid("series", study, series)`` is a series' SeriesInstanceUID."""
    return generate_uid(entropy_srcs=["semiseg", *texts])


def decimals(numbers: Sequence[float] | NDArray) -> list[DSfloat]:
    """Numbers ``(n,)`` with the 16 characters that a Decimal String has (DICOM PS3.5 6.2)."""
    return [DSfloat(float(number), auto_format=True) for number in numbers]


def _shared(modality: str, study: str, series: str, patient: str, frame: str, date: str, time: str) -> Dataset:
    """What all instances of the series have in common, but for geometry and pixels."""
    if modality not in CLASSES:
        raise StudyError(study, f"modality {modality} is not written", f"Choose one of {', '.join(CLASSES)}")
    shared = Dataset()
    for key, value in MODALITY_ATTRIBUTES[modality].items():
        setattr(shared, key, value)
    shared.SOPClassUID = CLASSES[modality]
    shared.ImageType = ["ORIGINAL", "PRIMARY", *IMAGE_TYPES[modality]]
    shared.SpecificCharacterSet = "ISO_IR 192"
    shared.PatientName, shared.PatientID = f"{patient}^Phantom", patient
    shared.PatientBirthDate = shared.PatientSex = ""
    shared.StudyInstanceUID, shared.SeriesInstanceUID = uid("study", study), uid("series", study, series)
    shared.StudyDate = shared.SeriesDate = shared.AcquisitionDate = shared.ContentDate = date
    shared.StudyTime = shared.SeriesTime = shared.AcquisitionTime = shared.ContentTime = time
    shared.StudyDescription, shared.StudyID, shared.AccessionNumber = study, study[:16], ""
    shared.ReferringPhysicianName = ""
    shared.Modality, shared.Manufacturer = modality, "semiseg"
    shared.PatientPosition = "HFS"
    shared.FrameOfReferenceUID, shared.PositionReferenceIndicator = uid("frame of reference", frame), ""
    return shared


def _add_plane(shared: Dataset, affine: NDArray, spacing: NDArray, shape: tuple[int, ...]) -> None:
    """Image Plane module, PS3.3 C.7.6.2; ``affine`` in LPS."""
    directions = affine[:3, :3] / spacing
    shared.Columns, shared.Rows = shape[:2]
    shared.PixelSpacing = decimals([spacing[1], spacing[0]])  # between rows, then between columns
    shared.ImageOrientationPatient = decimals([*directions[:, 0], *directions[:, 1]])
    shared.SliceThickness = shared.SpacingBetweenSlices = decimals(spacing[2:])[0]


def _add_window(shared: Dataset, array: NDArray) -> None:
    low, high = np.percentile(array, (1, 99))
    shared.WindowCenter, shared.WindowWidth = decimals([(low + high) / 2, max(high - low, 1)])


def _rescale(array: NDArray, per_slice: bool) -> list[tuple[float, float]]:
    """Slope and intercept of each slice with which its values fit into 16 bits, signed."""
    low, high = float(array.min()), float(array.max())
    if low >= -(2**15) and high < 2**15 and np.array_equal(array, np.round(array)) and not per_slice:
        return [(1.0, 0.0)] * array.shape[2]
    if per_slice:  # PET: a slope for each slice, intercept 0 (PS3.3 C.8.9.4)
        peaks = np.abs(array).max(axis=(0, 1)).astype(float)
        return [(float(decimals([max(peak, 1e-6) / 32767])[0]), 0.0) for peak in peaks]
    slope, intercept = decimals([max(high - low, 1e-6) / 65535, (high + low) / 2])
    return [(float(slope), float(intercept))] * array.shape[2]


def _add_pixels(frame: Dataset, plane: NDArray, slope: float, intercept: float) -> None:
    stored = np.clip(np.round((plane.astype(np.float64) - intercept) / slope), -(2**15), 2**15 - 1).astype("<i2")
    frame.SamplesPerPixel, frame.PhotometricInterpretation = 1, "MONOCHROME2"
    frame.BitsAllocated, frame.BitsStored, frame.HighBit, frame.PixelRepresentation = 16, 16, 15, 1
    if frame.Modality != "MR" or (slope, intercept) != (1.0, 0.0):  # the MR Image IOD has no rescale of its own
        frame.RescaleIntercept, frame.RescaleSlope = decimals([intercept, slope])
    frame.PixelData = np.ascontiguousarray(stored.T).tobytes()


def _save(frame: Dataset, path: Path, compressed: bool) -> Path:
    frame.file_meta = FileMetaDataset()
    frame.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    frame.is_little_endian, frame.is_implicit_VR = True, False
    if compressed:
        frame.compress(RLELossless)
    frame.save_as(path, write_like_original=False)
    return path
