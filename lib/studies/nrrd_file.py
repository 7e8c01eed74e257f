"""A NRRD file by pynrrd, but from itself alone and no larger than its header says.

pynrrd unpacks whatever is packed before it looks at the size, and opens any other file of the disk that a header names
as the place of its data.
"""

from __future__ import annotations

import bz2
import gzip
import io
import math
from pathlib import Path
from typing import IO, Any

import nrrd
from monai.data.image_reader import NrrdImage

from lib.errors import StudyError
from lib.studies.bounds import DEFLATE, check_size

HEADER = 1 << 20  # bytes, within which a header must end
WIDEST = 8  # bytes of the largest type of a value
SKIPPED = 1 << 16  # bytes that may stand before the values ("byte skip")
PACKED: dict[str, Any] = {"gzip": gzip.open, "gz": gzip.open, "bzip2": bz2.open, "bz2": bz2.open}


def read_nrrd(study: str, path: Path) -> NrrdImage:
    """Values in the file's own order, and the header.

    Raises:
        StudyError: it is too large, or its data lie in another file.
        Exception: as pynrrd has it, of a file that cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(HEADER)
        length = min(
            (end for mark in (b"\n\n", b"\n\r\n") if (end := start.find(mark) + len(mark)) >= len(mark)), default=0
        )
        if not length:
            raise StudyError(study, "its header has no end", "Replace the file; it may be truncated")
        header = nrrd.read_header(start[:length].splitlines(keepends=True))
        if header.keys() & {"data file", "datafile"}:
            raise StudyError(study, "its header names another file for the data", "Store header and data in one file")
        encoding, sizes = str(header.get("encoding")), [int(size) for size in header.get("sizes", ())]
        packed = path.stat().st_size * (DEFLATE if encoding in ("gzip", "gz") else 1)
        check_size(study, sizes, 1, None if encoding in ("bzip2", "bz2") else packed)
        file.seek(length)
        data = _unpacked(file, encoding, math.prod(sizes) * WIDEST + SKIPPED)
    whole = header | ({"encoding": "raw"} if encoding in PACKED else {})
    return NrrdImage(nrrd.read_data(whole, io.BytesIO(data), index_order="F"), header)


def _unpacked(file: IO[bytes], encoding: str, most: int) -> bytes:
    if encoding in PACKED:
        return bytes(PACKED[encoding](file).read(most))
    return file.read() if encoding.lower() in ("ascii", "text", "txt") else file.read(most)
