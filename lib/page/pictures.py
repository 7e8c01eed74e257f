"""The slice of a study of which the model is least sure, as two pictures: the image, and with the uncertainty over it.

Both are made in one inference and kept in the model folder, by the model's checksum, within a budget of bytes.
"""

from __future__ import annotations

import hashlib
import io
import threading
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from PIL import Image

from lib.errors import BusyError
from lib.files import write_whole
from lib.inference.overlay import grey_or_colours
from lib.inference.segmenter import Segmenter
from lib.report.pictures import in_view
from lib.studies.reading import read_image

LONGEST = 320  # pixels of the longer side
BUDGET = 64 << 20  # bytes of all pictures; one takes about 30 KB
AFTER = 2  # seconds after which to ask again while another picture is made
CERTAIN, DENSE = 0.1, 0.85  # share of the highest uncertainty below which nothing is laid over; opacity of the highest
FAINT = 0.1  # uncertainty that is not drawn as bright as a high one, where a slice has no higher


class Pictures:
    """The pictures of one project.

    Args:
        folder: made when the first picture is. budget: bytes; the oldest pictures go.
    """

    def __init__(self, folder: Path, budget: int = BUDGET) -> None:
        self.folder, self.budget = folder, budget
        self._making = threading.Lock()

    def kept(self, study: str, model: str, overlay: bool) -> bytes | None:
        """The PNG, if it is there."""
        try:
            return self._file(study, model, overlay).read_bytes()
        except FileNotFoundError:
            return None

    def make(self, segmenter: Segmenter, study: str, image: Path, overlay: bool) -> bytes:
        """The PNG, made now.

        Raises:
            BusyError: another one is made at the moment; a reader's own segmentations must not wait behind pictures.
            StudyError: the image cannot be read.
        """
        if not self._making.acquire(blocking=False):
            raise BusyError("Another picture is drawn at the moment: ask again", AFTER)
        try:
            known = self.kept(study, segmenter.checksum, overlay)
            if known:
                return known
            plain, doubt = draw(segmenter, image)
            write_whole(self._file(study, segmenter.checksum, False), plain)
            write_whole(self._file(study, segmenter.checksum, True), doubt)
            self._trim()
            return doubt if overlay else plain
        finally:
            self._making.release()

    def _file(self, study: str, model: str, overlay: bool) -> Path:
        # a study's id is text of others, and no part of a path
        name = hashlib.sha256(f"{model}\n{study}".encode()).hexdigest()[:32]
        return self.folder / f"{name}{'-uncertainty' if overlay else ''}.png"

    def _trim(self) -> None:
        files = sorted(self.folder.glob("*.png"), key=lambda file: -file.stat().st_mtime_ns)
        used = 0
        for file in files:
            used += file.stat().st_size
            if used > self.budget:
                file.unlink(missing_ok=True)


def draw(segmenter: Segmenter, image: Path) -> tuple[bytes, bytes]:
    """The image's most uncertain slice as PNG, plain and with the uncertainty laid over it.

    Raises:
        StudyError: the image cannot be read.
    """
    found = segmenter(image, uncertainty=True)
    assert found.uncertainty is not None
    array, affine = read_image(image)
    upright, spacing = in_view(affine, segmenter.plan.flat_axis)
    doubt = upright(found.uncertainty)
    level = most_uncertain(doubt)
    shown = grey_or_colours(upright(array[0] if len(array) == 1 else np.moveaxis(array, 0, -1)))
    plane = _plane(shown[:, :, level])
    colours = np.repeat(plane[..., None], 3, -1) if plane.ndim == 2 else plane
    height, width = _size(colours.shape, spacing)
    return _png(colours, width, height), _png(_over(colours, _plane(doubt[:, :, level])), width, height)


def most_uncertain(doubt: np.ndarray) -> int:
    """Index along Z of the slice with the largest sum, ``(X, Y, Z)`` in [0, 1]: where most is in doubt, not the most
    doubtful voxel, which may be noise."""
    return int(doubt.sum((0, 1)).argmax())


def _over(colours: np.ndarray, doubt: np.ndarray) -> np.ndarray:
    """Brightest where the model is least sure in this slice: on grey, the scale of all studies would show nothing."""
    share = doubt / max(float(doubt.max()), FAINT)
    heat = colormaps["inferno"](0.4 + 0.55 * share)[..., :3]
    opacity = np.where(share < CERTAIN, 0, DENSE * np.sqrt(share))[..., None]
    return np.asarray(colours * (1 - opacity) + heat * opacity)


def _plane(slice_: np.ndarray) -> np.ndarray:
    """Rows from front to back, the patient's right on the left, as radiologists look at it."""
    return np.asarray(slice_[::-1, ::-1].swapaxes(0, 1))


def _size(shape: tuple[int, ...], spacing: tuple[float, float, float]) -> tuple[int, int]:
    """Height and width in pixels, in the proportions of the millimetres."""
    high, wide = shape[0] * spacing[1], shape[1] * spacing[0]
    factor = LONGEST / max(high, wide)
    return max(1, round(high * factor)), max(1, round(wide * factor))


def _png(colours: np.ndarray, width: int, height: int) -> bytes:
    file = io.BytesIO()
    picture = Image.fromarray((255 * np.clip(colours, 0, 1)).astype(np.uint8))
    picture.resize((width, height), Image.Resampling.BICUBIC).save(file, "png", optimize=True)
    return file.getvalue()
