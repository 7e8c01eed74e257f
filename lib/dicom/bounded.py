"""How much a DICOM object may hold, judged by its headers before any of it is unpacked.

The objects come from a server of the hospital's, but whoever may store there may store anything.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian

from lib.errors import SemisegError, StudyError
from lib.studies.bounds import check_size

P = ParamSpec("P")
R = TypeVar("R")
MOST_INFLATED = 2**31  # bytes of a data set that was deflated as a whole (PS3.5 A.5)
MOST_FRAMES = 100_000
PIECE = 1 << 16
PREAMBLE, LENGTH_ELEMENT = 132, 12  # bytes; PS3.10 7.1
FRAME_STARTS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # SOF markers of JPEG (T.81 B.1.1.3) and JPEG-LS (T.87)
SIZ = b"\xff\x4f\xff\x51"  # where a JPEG 2000 codestream begins (T.800 A.5.1)


def read_file(file: Path | str, **options: Any) -> Dataset:
    """As ``pydicom.dcmread``, but no data set that unpacks to more than 2 GiB.

    Raises:
        ValueError: one that does.
        Exception: as pydicom has it, of a file that cannot be read.
    """
    meta = read_file_meta_info(str(file))
    if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        _check_inflated(Path(file), PREAMBLE + LENGTH_ELEMENT + int(meta.FileMetaInformationGroupLength))
    return dcmread(file, **options)


def frame_count(header: Dataset) -> int:
    """NumberOfFrames, 1 where it does not stand.

    Raises:
        StudyError: more than 100,000, or less than none.
    """
    count = int(header.get("NumberOfFrames") or 1)
    if not 0 < count <= MOST_FRAMES:
        uid = str(header.get("SeriesInstanceUID") or "unknown")
        raise StudyError(uid, f"an object of it says that it holds {count} frames", "Send the series again")
    return count


def check_pixels(uid: str, header: Dataset) -> None:
    """Refuse an object whose frames take more memory than there may be.

    Raises:
        StudyError: see :func:`lib.studies.bounds.check_size`.
    """
    check_size(
        uid, (int(header.Columns), int(header.Rows), frame_count(header)), max(1, int(header.BitsAllocated) // 8)
    )


def check_stream(stream: bytes, rows: int, columns: int) -> None:
    """Refuse a compressed frame that unpacks to another size than its header says, before it does.

    Raises:
        ValueError: it would, or does not tell.
    """
    found = _jpeg_2000(stream) if SIZ in stream[:1024] else _jpeg(stream)
    if found != (rows, columns):
        raise ValueError(f"the compressed picture is of {found} rows and columns")


def _jpeg(stream: bytes) -> tuple[int, int] | None:
    """Rows and columns in the frame header of a JPEG or JPEG-LS; None without one."""
    place = 2
    while place + 9 <= len(stream) and stream[place] == 0xFF:
        marker = stream[place + 1]
        if marker in FRAME_STARTS:
            return int.from_bytes(stream[place + 5 : place + 7]), int.from_bytes(stream[place + 7 : place + 9])
        # fill bytes (B.1.1.2) have no length
        place += 1 if marker == 0xFF else 2 + int.from_bytes(stream[place + 2 : place + 4])
    return None


def _jpeg_2000(stream: bytes) -> tuple[int, int]:
    start = stream.index(SIZ) + 8  # behind the markers, Lsiz and Rsiz
    right, bottom, left, top = (int.from_bytes(stream[start + 4 * place :][:4]) for place in range(4))
    return bottom - top, right - left


def _check_inflated(file: Path, start: int) -> None:
    inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    with file.open("rb") as packed:
        packed.seek(start)
        while not inflater.eof:
            data = inflater.unconsumed_tail or packed.read(PIECE)
            piece = inflater.decompress(data, PIECE)
            size += len(piece)
            if not data and not piece:
                return  # truncated; pydicom says so
            if size > MOST_INFLATED:
                raise ValueError(f"it unpacks to more than {MOST_INFLATED} bytes")


def damage_said(reader: Callable[P, R]) -> Callable[P, R]:
    """A reader of DICOM objects, whose every failure on what is damaged is a StudyError.

    Attributes may be missing, empty, of another type or without end, wherever they are looked at.
    """

    @wraps(reader)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return reader(*args, **kwargs)
        except SemisegError:
            raise
        except Exception as error:
            cause = f"an object of it is damaged ({type(error).__name__} in its attributes)"
            raise StudyError(str(kwargs.get("series") or "unknown"), cause, "Send it again") from error

    return call
