"""The pixels of a frame as values: decoded, freed of the bits above them, and rescaled (DICOM PS3.3 C.11.1).

JPEG, JPEG-LS and JPEG 2000 are decoded by imagecodecs, all else by pydicom. pydicom's own way to lossless JPEG is GDCM,
which ends the whole process on a damaged file.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from imagecodecs import jpeg2k_decode, jpeg8_decode, jpegls_decode
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import generate_pixel_data_frame
from pydicom.pixel_data_handlers.util import apply_modality_lut

from lib.dicom.bounded import check_pixels, check_stream
from lib.dicom.frames import Frame
from lib.errors import StudyError

DECODERS: dict[str, Callable[[bytes], NDArray]] = {  # by transfer syntax, PS3.5 A.4
    "1.2.840.10008.1.2.4.50": jpeg8_decode,  # JPEG Baseline
    "1.2.840.10008.1.2.4.51": jpeg8_decode,  # JPEG Extended, 12 bits
    "1.2.840.10008.1.2.4.57": jpeg8_decode,  # JPEG Lossless
    "1.2.840.10008.1.2.4.70": jpeg8_decode,  # JPEG Lossless, Selection Value 1
    "1.2.840.10008.1.2.4.80": jpegls_decode,  # JPEG-LS Lossless
    "1.2.840.10008.1.2.4.81": jpegls_decode,  # JPEG-LS Near-Lossless
    "1.2.840.10008.1.2.4.90": jpeg2k_decode,  # JPEG 2000 Lossless
    "1.2.840.10008.1.2.4.91": jpeg2k_decode,  # JPEG 2000
}


def stored_values(uid: str, header: Dataset) -> NDArray:
    """All frames of a data set as pydicom or the decoder gives them, ``(frames, rows, columns)``.

    Raises:
        StudyError: truncated, damaged, in a transfer syntax without a decoder, or with fewer frames than it says.
    """
    name = "unknown transfer syntax"
    try:
        check_pixels(uid, header)
        syntax = header.file_meta.TransferSyntaxUID
        name = syntax.name
        pixels = _by_imagecodecs(header, DECODERS[syntax]) if syntax in DECODERS else _by_pydicom(header)
        return pixels.reshape(int(header.get("NumberOfFrames") or 1), header.Rows, header.Columns)
    except StudyError:
        raise
    except Exception as error:  # every decoder fails in its own way
        which = f"image {header.get('InstanceNumber') or header.get('SOPInstanceUID')}"
        cause = f"{which} cannot be decoded ({name}: {_first_line(error)})"
        raise StudyError(uid, cause, "Send it again, uncompressed if need be") from error


def values(frame: Frame, decoded: NDArray) -> NDArray:
    """One decoded frame ``(rows, columns)`` in the modality's unit: float64, or int64 where values stay whole."""
    stored = _significant(decoded, frame.header)
    if frame.header.get("ModalityLUTSequence"):
        return apply_modality_lut(stored, frame.header)
    slope, intercept = frame.rescale()
    return stored * int(slope) + int(intercept) if stays_whole(frame) else stored * slope + intercept


def stays_whole(frame: Frame) -> bool:
    """Do whole numbers of at most 16 bits stay so under this frame's rescale?"""
    lut = bool(frame.header.get("ModalityLUTSequence"))
    return not lut and frame.get("BitsAllocated") in (8, 16) and all(part == int(part) for part in frame.rescale())


def _by_pydicom(header: Dataset) -> NDArray:
    view = Dataset(header)  # shares the elements; the header itself would keep the array it once gave
    view.file_meta = header.file_meta
    view.is_little_endian, view.is_implicit_VR = header.is_little_endian, header.is_implicit_VR
    return view.pixel_array


def _by_imagecodecs(header: Dataset, decoder: Callable[[bytes], NDArray]) -> NDArray:
    count = int(header.get("NumberOfFrames") or 1)
    streams = list(generate_pixel_data_frame(header.PixelData, count))
    for stream in streams:
        if not stream.rstrip(b"\0").endswith(b"\xff\xd9"):  # libjpeg would fill what is missing with grey
            raise ValueError("the compressed picture has no end")
        check_stream(stream, int(header.Rows), int(header.Columns))
    frames = np.stack([decoder(stream) for stream in streams])
    if frames.shape[1:] != (header.Rows, header.Columns):
        raise ValueError(f"the compressed picture is of {frames.shape[1:]} rows and columns")
    return frames


def _significant(decoded: NDArray, header: Dataset) -> NDArray:
    """The BitsStored bits of the values, with the sign that the highest of them says.

    Bits above HighBit are no part of the value: old scanners keep overlays there. The decoders of :data:`DECODERS` give
    the value itself, but JPEG and JPEG-LS know no signs.
    """
    if decoded.dtype.kind == "f":
        return decoded
    compressed = header.file_meta.TransferSyntaxUID in DECODERS
    signed, bits = header.PixelRepresentation == 1, int(header.BitsStored)
    wide: NDArray[np.int64] = decoded.astype(np.int64)
    if compressed and not signed:
        return wide
    low, spare = 0 if compressed else int(header.HighBit) + 1 - bits, 64 - bits
    return (wide >> low << spare) >> spare if signed else wide >> low & (1 << bits) - 1


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:160]
