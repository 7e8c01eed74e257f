"""Pictures (PNG, JPEG) as volumes of one slice, whatever way their file holds colours; and PNG masks as labels.

A picture's columns are X and its rows Y. Its geometry is that of ITK and 3D Slicer: pixels of 1 mm, columns towards
the patient's left, rows towards the back. What EXIF says of a picture's orientation is not applied: labels are drawn
on the pixels as they are stored, and most programs store them so again.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from lib.errors import StudyError
from lib.studies.bounds import check_size
from lib.studies.cases import study_id

AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])  # ITK's identity, whose world is LPS, in RAS
LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue; ITU-R BT.601
WHITE = 255
DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N")  # Pillow's names of more than 8 bits of grey
LOSSY = ("JPEG", "MPO")


def read_picture(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """A picture as ``(C, X, Y, 1)`` with 3 channels (red, green, blue) if it is coloured, else 1, and its affine.

    Opacity is dropped. Palettes, CMYK and other colour spaces become RGB; a colour picture whose channels are all
    equal is grey. Grey keeps its 8 or 16 bits.

    Raises:
        StudyError: unreadable or truncated.
    """
    pixels = _channels(_open(path))
    if pixels.ndim == 3 and _is_grey(pixels):
        pixels = pixels[..., 0]
    return np.atleast_3d(pixels).transpose(2, 1, 0)[..., None], AFFINE.copy()


def read_mask(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """A label drawn on a picture: its values ``(X, Y, 1)`` and the affine of :func:`read_picture`.

    The values of a palette are its indices, as ITK-SNAP, LabelMe and the VOC data set store classes.

    Raises:
        StudyError: unreadable, JPEG, or colours instead of values.
    """
    image = _open(path)
    if image.format in LOSSY:
        cause = f"{path.name} is a JPEG, whose compression changes the values"
        raise StudyError(study_id(path), cause, "Save the label as .png with the values of the classes as grey values")
    pixels = np.asarray(image).astype(np.uint8) if image.mode in ("1", "P") else _channels(image)
    if pixels.ndim == 3:
        if not _is_grey(pixels):
            cause = f"{path.name} holds colours, and nothing says which class a colour means"
            raise StudyError(study_id(path), cause, "Save the values of the classes as grey values")
        pixels = pixels[..., 0]
    return pixels.T[..., None], AFFINE.copy()


def save_mask(path: Path, label: np.ndarray) -> None:
    """Write a label ``(X, Y, 1)`` as grey values of 8 or 16 bits, by its type (uint8, uint16)."""
    Image.fromarray(np.ascontiguousarray(label[..., 0].T)).save(path)


def to_luminance(volume: np.ndarray) -> np.ndarray:
    """A colour volume ``(3, X, Y, Z)`` as one channel ``(1, X, Y, Z)``."""
    return np.tensordot(np.array(LUMINANCE, dtype=volume.dtype), volume, axes=1)[None]


def _open(path: Path) -> Image.Image:
    try:
        image = Image.open(path, formats=("PNG", "JPEG"))
        check_size(study_id(path), (*image.size, len(image.getbands())), 1)  # Pillow refuses 179 million pixels itself
        image.load()
        return image
    except StudyError:
        raise
    except Exception as error:  # Pillow and zlib fail on a broken file in many ways
        cause = str(error).replace(str(path), path.name) or type(error).__name__
        raise StudyError(
            study_id(path), f"{path.name} cannot be read ({cause[:160]})", "Replace the file; it may be truncated"
        ) from error


def _channels(image: Image.Image) -> np.ndarray:
    """``(rows, columns)`` of grey values or ``(rows, columns, 3)`` of red, green and blue."""
    if image.mode in DEEP:
        return np.asarray(image)
    return np.asarray(image.convert("L" if image.mode in ("1", "L", "LA", "La") else "RGB"))


def _is_grey(pixels: np.ndarray) -> bool:
    return bool((pixels[..., :1] == pixels).all())
