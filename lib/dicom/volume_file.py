"""A volume of the mirror as NIfTI, which says itself what it was made from."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from lib.files import whole_file

COMMENT = 6  # code of the NIfTI header extension that holds text


def save(file: Path, array: NDArray, affine: NDArray, **about: str) -> None:
    """Write it, whole and on the disk or not at all.

    Args:
        array: ``(X, Y, Z)``. affine: 4x4 from voxels to mm in RAS.
        about: short texts to be read by :func:`about`.

    Raises:
        OSError: it cannot be written.
    """
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=1)  # scanner coordinates
    image.set_qform(affine, code=1)
    image.header.extensions.append(nib.nifti1.Nifti1Extension(COMMENT, json.dumps(about).encode()))
    with whole_file(file) as draft:
        nib.save(image, draft)


def about(file: Path) -> dict[str, str]:
    """The texts it was written with; empty if there is no such file, or it is damaged."""
    try:
        extensions = nib.load(file).header.extensions  # type: ignore[attr-defined]
        return dict(json.loads(extensions[0].get_content())) if extensions else {}
    except (OSError, ValueError, EOFError, nib.filebasedimages.ImageFileError):
        return {}


def grid(file: Path) -> tuple[tuple[int, int, int], NDArray[np.float64]]:
    """Shape (X, Y, Z) and 4x4 affine, by the header alone."""
    image = nib.load(file)
    return tuple(image.shape[:3]), np.asarray(image.affine)  # type: ignore[attr-defined]
