"""Volumes and labels on the grid of another volume, by their places in space."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
from scipy.ndimage import affine_transform

from lib.studies.cases import Case
from lib.studies.labels import GRID_TOLERANCE, LabelMap, read_label
from lib.studies.reading import read_image

SAMPLES = 12  # along each axis, to measure the overlap

Shape = tuple[int, ...]


def on_grid(
    volume: np.ndarray,
    affine: np.ndarray,
    shape: Shape,
    target: np.ndarray,
    order: int = 1,
    outside: float | None = None,
) -> np.ndarray:
    """``volume (X, Y, Z)`` with its affine on a grid of this shape and affine, in its own type.

    Args:
        order: 1 interpolates linearly, 0 takes the nearest voxel.
        outside: value where the volume does not reach; None: its lowest.
    """
    there = np.linalg.inv(affine) @ target
    if volume.shape == shape and _largest_shift(there, shape) < GRID_TOLERANCE:
        return volume
    low = volume.min() if outside is None else outside
    padded = np.pad(volume, 1, mode="edge")  # voxels are boxes: the outermost reach beyond their centres
    return affine_transform(padded, there[:3, :3], there[:3, 3] + 1, shape, order=order, cval=float(low))


def _largest_shift(there: np.ndarray, shape: Shape) -> float:
    """How far from its own place, in voxels, this transform takes a voxel of the grid."""
    corners = np.array([[*corner, 1] for corner in product(*((0, n - 1) for n in shape))], dtype=float).T
    return float(np.abs(there @ corners - corners).max())


def overlap(first: tuple[Shape, np.ndarray], second: tuple[Shape, np.ndarray]) -> float:
    """Share of the smaller of two grids (shape, affine) that lies in the larger one."""
    small, large = sorted((first, second), key=lambda grid: np.prod(grid[0]) * abs(np.linalg.det(grid[1])))
    inside = [(np.arange(SAMPLES) + 0.5) / SAMPLES * n - 0.5 for n in small[0]]
    points = np.stack([*np.meshgrid(*inside, indexing="ij"), np.ones((SAMPLES,) * 3)]).reshape(4, -1)
    found = (np.linalg.inv(large[1]) @ small[1] @ points)[:3]
    return float(((found >= -0.5) & (found <= np.reshape(large[0], (3, 1)) - 0.5)).all(axis=0).mean())


def label_on(case: Case, file: Path, labels: LabelMap, shape: Shape, affine: np.ndarray) -> np.ndarray:
    """The case's label on the own grid of one of its series.

    Args:
        shape, affine: of that series' file.

    Returns:
        Class indices, uint8 ``(X, Y, Z)``; those of the nearest voxel where the label is on another series.

    Raises:
        StudyError: see :func:`lib.studies.labels.read_label`.
    """
    if file == case.image:
        return read_label(case, labels, shape, affine)
    image, grid = read_image(case.usable().image)
    label = read_label(case, labels, image.shape[1:], grid)
    return on_grid(label, grid, tuple(shape), affine, order=0, outside=0)
