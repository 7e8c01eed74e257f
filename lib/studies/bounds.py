"""How much a file may hold, judged by its header before any of it is unpacked.

A few kilobytes can say that they are a volume of a terabyte, or unpack to one. What reads an image asks here first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import psutil
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.openers import ImageOpener

from lib.errors import StudyError

MOST_VOXELS = 2**30  # 1024 x 1024 x 1024
DEFLATE = 1032  # bytes that one byte of gzip can unpack to, at most (zlib's technical notes)
MEMORY = 0.5  # of the free memory, for one volume
BYTES = 4  # of a voxel at work; preprocessing computes in float32
MOST_AHEAD = 2**24  # bytes before a NIfTI's voxels, for its extensions


def check_size(study: str, shape: Sequence[int], item: int = BYTES, stored: int | None = None) -> None:
    """Refuse a volume or picture that is too large, or larger than its file can hold.

    Args:
        shape: as its header says. item: bytes of one value in the file.
        stored: bytes that the file holds, or can unpack to; None: not known.

    Raises:
        StudyError: it is.
    """
    count = math.prod(int(size) for size in shape)
    text = " x ".join(str(size) for size in shape)
    if count > MOST_VOXELS or any(size < 0 for size in shape):
        cause = f"its header says that it holds {text[:80]} values, and {MOST_VOXELS} are the most that is read"
        raise StudyError(study, cause, "Crop it, or store it with a larger spacing")
    if stored is not None and count * item > stored:
        cause = f"its header says that it holds {text[:80]} values, for which the file is too small"
        raise StudyError(study, cause, "Replace the file; it may be truncated")
    free = psutil.virtual_memory().available
    if count * max(item, BYTES) > MEMORY * free:
        cause = f"its {text[:80]} values need more memory than is free ({free / 1e9:.1f} GB)"
        raise StudyError(study, cause, "Try again when less is under way, or store it with a larger spacing")


def check_nifti(study: str, path: Path) -> None:
    """Refuse a NIfTI file by the first bytes of its header; leaves to nibabel what is none.

    Raises:
        StudyError: see :func:`check_size`.
        Exception: as nibabel has it, of a file that cannot be read.
    """
    with ImageOpener(str(path)) as file:
        head = file.read(Nifti2Header.template_dtype.itemsize)
    kinds = {Nifti1Header.template_dtype.itemsize: Nifti1Header, Nifti2Header.template_dtype.itemsize: Nifti2Header}
    sizes = {int.from_bytes(head[:4], order) for order in ("little", "big")}  # the header's own, its first number
    for size in sizes & kinds.keys():
        header = kinds[size](head[:size], check=False)
        ahead = float(header["vox_offset"])
        if not 0 <= ahead <= MOST_AHEAD:
            cause = f"its header says that the voxels begin at byte {ahead:.0f}"
            raise StudyError(study, cause, "Replace the file; it may be damaged")
        packed = path.stat().st_size
        stored = packed * DEFLATE if path.name.endswith(".gz") else packed
        dimensions = max(0, int(header["dim"][0]))
        shape = [int(length) for length in header["dim"][1 : 1 + dimensions]]
        check_size(study, shape, header.get_data_dtype().itemsize, stored)
