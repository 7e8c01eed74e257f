"""A DICOM series as one volume: its values in the modality's unit, its place, and its headers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from lib.dicom.bounded import damage_said, read_file
from lib.dicom.frames import Frame
from lib.dicom.images import NOT_IMAGES
from lib.dicom.pixels import stays_whole, stored_values, values
from lib.dicom.stack import stack
from lib.errors import StudyError

PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


@dataclass(frozen=True)
class DicomSeries:
    """A series that is a volume.

    Attributes:
        uid: SeriesInstanceUID.
        array: ``(X, Y, Z)``, int16 or int32 where the rescale keeps whole numbers whole, else float32.
        affine: 4x4 from voxels to mm in RAS.
        headers: the data sets without their pixels; of single-frame objects one a slice, in the order of Z.
        frames: for each slice in the order of Z, its place in ``headers`` and its frame there, both from 0.
        notes: sentences on what was not as it should be, and what was done.
    """

    uid: str
    array: NDArray
    affine: NDArray[np.float64]
    headers: list[Dataset]
    frames: list[tuple[int, int]]
    notes: list[str]


@damage_said
def read_series(files: Iterable[Path | str]) -> DicomSeries:
    """Read the files of one series, in any order and any transfer syntax that pydicom and GDCM decode.

    Values are those after the Modality LUT (DICOM PS3.3 C.11.1): HU in CT; in PET the stored activity, mostly Bq/ml,
    each slice by its own RescaleSlope (SUV is not computed); in MR what the scanner stored.

    Raises:
        StudyError: a file is missing, truncated or no DICOM, cannot be decoded, or the series is not one volume.
    """
    datasets = _read_files([Path(file) for file in files])
    found = stack(datasets)
    array = _values(found.uid, found.frames, found.shape)
    sources = list(dict.fromkeys(frame.source for frame in found.frames))
    place = {source: number for number, source in enumerate(sources)}
    order = [(place[frame.source], frame.number) for frame in found.frames]
    notes = list(found.notes)
    if any(datasets[source].get("LossyImageCompression") == "01" for source in sources):
        notes.append("Its images were compressed with loss; the values are near those of the scanner, not equal")
    return DicomSeries(found.uid, array, found.affine, [datasets[source] for source in sources], order, notes)


def _values(uid: str, frames: list[Frame], shape: tuple[int, int, int]) -> NDArray:
    """The volume ``(X, Y, Z)``; takes the pixels out of the data sets, which would else be held twice."""
    whole = all(stays_whole(frame) for frame in frames)
    array = np.empty(shape[::-1], dtype=np.int32 if whole else np.float32)
    slices: dict[int, list[int]] = {}  # of each data set
    for z, frame in enumerate(frames):
        slices.setdefault(frame.source, []).append(z)
    for places in slices.values():
        header = frames[places[0]].header
        decoded = stored_values(uid, header)
        _drop_pixels(header)
        for z in places:
            array[z] = values(frames[z], decoded[frames[z].number])
    if whole and array.min() >= -(2**15) and array.max() < 2**15:
        array = array.astype(np.int16)
    return array.transpose(2, 1, 0)


def _drop_pixels(header: Dataset) -> None:
    for keyword in PIXELS:
        if keyword in header:
            delattr(header, keyword)


def _read_files(files: list[Path]) -> list[Dataset]:
    """The data sets, whole. Files are named by their number: their names may be a patient's."""
    datasets: list[Dataset] = []
    broken: list[tuple[int, str]] = []
    for number, file in enumerate(files, 1):
        try:
            dataset = read_file(file)
        except FileNotFoundError:
            broken.append((number, "does not exist"))
            continue
        except Exception as error:  # a broken file ends pydicom and zlib in many ways
            broken.append((number, f"cannot be read as DICOM ({type(error).__name__})"))
            continue
        datasets.append(dataset)
        if not any(keyword in dataset for keyword in PIXELS) and dataset.get("Modality") not in NOT_IMAGES:
            broken.append((number, "has no pixels"))
    if broken:
        uids = [str(dataset.get("SeriesInstanceUID") or "") for dataset in datasets]
        number, cause = broken[0]
        more = f", and {len(broken) - 1} more are broken" if len(broken) > 1 else ""
        cause = f"file {number} of {len(files)} {cause}{more}"
        raise StudyError(next(filter(None, uids), "unknown"), cause, "Send the series again; files may be truncated")
    return datasets
