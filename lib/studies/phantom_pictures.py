"""Generated pictures with labels, for the tests: slices through the phantoms, stained or grey."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lib.studies.phantoms import LABELS, phantom
from lib.studies.pictures import save_mask

STAIN = ((1.0, 0.2, 0.5), (0.8, 0.9, 0.3))  # red, green and blue of dark and of bright tissue


def picture(seed: tuple[int, ...], size: tuple[int, int], coloured: bool) -> tuple[NDArray, NDArray[np.uint8]]:
    """One slice through a phantom: uint8 (C, X, Y, 1) with 3 channels or 1, and its label uint8 (X, Y, 1)."""
    image, label = phantom(seed, (*size, 1))
    grey = np.clip(image / np.percentile(image, 99.5), 0, 1)
    if not coloured:
        return (255 * grey).round().astype(np.uint8)[None], label
    dark, bright = (np.reshape(colour, (3, 1, 1, 1)) for colour in STAIN)
    return (255 * grey * (dark + (bright - dark) * grey)).round().astype(np.uint8), label


def write_pictures(
    folder: Path,
    count: int,
    labelled: int,
    seed: int = 0,
    size: tuple[int, int] = (64, 48),
    coloured: bool = True,
    ending: str = ".png",
) -> list[str]:
    """Write a studies folder of pictures: images, ``labels/final/`` and ``dataset.json``.

    Args:
        folder: made if it is not there.
        count: pictures to write, of which the first ``labelled`` get their label.
        seed: picture i of a seed is the same whatever ``count``.
        size: columns and rows.
        ending: ``.png`` or ``.jpg``; labels are ``.png`` always.

    Returns:
        The ids of the studies, in order.
    """
    finals = folder / "labels" / "final"
    finals.mkdir(parents=True, exist_ok=True)
    ids = [f"picture_{number:03d}" for number in range(count)]
    for number, name in enumerate(ids):
        image, label = picture((seed, number), size, coloured)
        pixels = image[..., 0].transpose(2, 1, 0)
        Image.fromarray(pixels if coloured else pixels[..., 0]).save(folder / f"{name}{ending}")
        if number < labelled:
            save_mask(finals / f"{name}.png", label)
    about = {"name": "pictures", "labels": LABELS, "dimension": 2}
    (folder / "dataset.json").write_text(json.dumps(about, indent=1) + "\n")
    return ids
