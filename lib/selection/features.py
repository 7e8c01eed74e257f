"""What a study looks like, without any model: how its intensities are spread, how large it is, a coarse thumbnail."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from lib.studies.cases import study_id
from lib.studies.orientation import to_ras
from lib.studies.preprocess import finite, resize
from lib.studies.reading import read_image

LEVELS = np.linspace(0.01, 0.99, 15)  # quantiles of the body
THUMBNAIL = (6, 6, 6)  # cells over the whole extent, along R, A, S; of a picture all along S are alike
BLOCKS = (len(LEVELS), 3, 216)


def study_features(image: Path) -> np.ndarray:
    """Float32 ``(234,)``: quantiles of the normalised intensities, logarithms of the edges in mm, thumbnail.

    Intensities are normalised by mean and sd of what is above the darkest value, as those of MR are for the networks:
    their unit says nothing there, and of CT the quantiles still tell much.

    Raises:
        StudyError: unreadable, or without one finite voxel.
    """
    array, affine = read_image(image)
    turned, spacing, _ = to_ras(np.moveaxis(array, 0, -1).astype(np.float32), affine)
    grey = finite(turned.mean(-1), study_id(image))[0]
    dark = grey.min()
    body = grey[grey > dark] if dark < grey.max() else grey.ravel()
    mean, sd = body.mean(), max(float(body.std()), 1e-6)
    quantiles = np.quantile((body - mean) / sd, LEVELS)
    edges = np.log(np.array(grey.shape) * spacing)
    cells = resize(torch.from_numpy((grey[None] - mean) / sd), THUMBNAIL).numpy().ravel()
    return np.concatenate([quantiles, edges, cells]).astype(np.float32)


def weights() -> np.ndarray:
    """Of each feature, ``(234,)``, so that the three kinds count alike, however many numbers each has."""
    return np.concatenate([np.full(size, size**-0.5) for size in BLOCKS])
