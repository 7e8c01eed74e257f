"""Reading one image or label from disk, with every way in which a file can be bad said in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from monai.data import NibabelReader, NrrdReader

from lib.errors import StudyError
from lib.studies.bounds import check_nifti
from lib.studies.cases import is_picture, study_id
from lib.studies.nrrd_file import read_nrrd
from lib.studies.pictures import read_mask, read_picture


def read_image(path: Path | str) -> tuple[np.ndarray, np.ndarray]:
    """An image as it lies on disk.

    Returns:
        Array ``(C, X, Y, Z)`` in the file's own order and value type, with three channels for a coloured picture and
        else one, and its 4x4 affine from voxels to mm in RAS.

    Raises:
        StudyError: no file, a folder, unreadable, truncated, neither picture nor volume, or without a usable geometry.
    """
    path = _file(path)
    if is_picture(path):
        return read_picture(path)
    array, affine = _read_volume(path)
    return array[None], affine


def read_volume(path: Path | str) -> tuple[np.ndarray, np.ndarray]:
    """What holds one value a voxel, as it lies on disk: a label, or an image without colours.

    Returns:
        Array ``(X, Y, Z)`` in the file's own order and value type, and its 4x4 affine from voxels to mm in RAS.

    Raises:
        StudyError: as :func:`read_image`; a picture of colours or in JPEG.
    """
    path = _file(path)
    return read_mask(path) if is_picture(path) else _read_volume(path)


def voxel_spacing(affine: np.ndarray) -> np.ndarray:
    """Edge lengths of a voxel in mm, ``(3,)`` in the order of the array's axes, of a 4x4 affine."""
    return np.linalg.norm(affine[:3, :3], axis=0)


def _file(path: Path | str) -> Path:
    path, study = Path(path), study_id(path)
    if path.is_dir():
        raise StudyError(study, f"{path.name} is a folder, not an image file", "Remove it from the studies")
    if not path.is_file():
        raise StudyError(study, f"the file {path.name} does not exist", "Was it moved or deleted?")
    return path


def _read_volume(path: Path) -> tuple[np.ndarray, np.ndarray]:
    study = study_id(path)
    # the reader is called by name: MONAI's LoadImage would try all others after it and report the last one's failure;
    # nothing is mapped, since a mapped file that is cut off while it is read ends the process
    reader: Any = NrrdReader() if path.suffix == ".nrrd" else NibabelReader(mmap=False)
    try:
        if path.suffix == ".nrrd":
            found = read_nrrd(study, path)
        else:
            check_nifti(study, path)
            found = reader.read(path)
        array, meta = reader.get_data(found)
        affine = np.asarray(meta["affine"], dtype=np.float64)
    except StudyError as error:
        raise StudyError(study, f"{path.name} cannot be read: {error.cause}", error.remedy) from error
    except Exception as error:  # a reader's way to fail on a broken file is its own affair
        cause = str(error.__cause__ or error).strip().splitlines()[-1:] or [type(error).__name__]
        raise StudyError(
            study, f"{path.name} cannot be read ({cause[0][:160]})", "Replace the file; it may be truncated"
        ) from error
    if array.dtype.kind not in "biuf":
        raise StudyError(
            study, f"{path.name} holds colours or complex numbers, not one value a voxel", "Export it as grey values"
        )
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim != 3:
        raise StudyError(
            study, f"{path.name} has {array.ndim} dimensions {array.shape}, a volume has 3", "Store one volume a file"
        )
    if (
        0 in array.shape
        or affine.shape != (4, 4)
        or not np.isfinite(affine).all()
        or abs(np.linalg.det(affine[:3, :3])) < 1e-9
    ):
        raise StudyError(
            study,
            f"{path.name} has no usable geometry (shape {array.shape})",
            "Export it again with its spacing and orientation",
        )
    return array, affine
