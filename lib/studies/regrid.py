"""A label drawn on another grid of the same patient (other spacing, orientation, crop), laid on its image's."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from lib.errors import StudyError
from lib.studies.labels import same_place
from lib.studies.reading import voxel_spacing

INSIDE = 0.5  # share of what a label marks that its image must hold: else it belongs to another image
ON_ITS_GRID = "Submit the label on the image's own grid"


def onto_grid(
    study: str, label: NDArray, own: NDArray, shape: tuple[int, ...], affine: NDArray
) -> tuple[NDArray, str] | None:
    """The label on the grid of its image, each voxel with the value of the label's nearest one.

    A grid with as many voxels as the image that lies elsewhere is no other grid: its geometry was lost on the way.
    The voxels of such a label would land on the wrong tissue, so it is refused.

    Args:
        label: ``(X, Y, Z)``. own: its 4x4 affine from voxels to mm in RAS. shape, affine: the image's grid.

    Returns:
        None if it is on that grid already; else the array of that shape and what was done, in a sentence.

    Raises:
        StudyError: it lies elsewhere, or so coarse a grid loses all that it marks.
    """
    if label.shape == shape and same_place(own, affine, shape):
        return None
    box, image_box = _box(own, label.shape), _box(affine, shape)
    if sorted(label.shape) == sorted(shape) and np.abs(box - image_box).max() > voxel_spacing(affine).max():
        cause = "its label lies elsewhere in space than the image (origin, spacing or orientation differ)"
        raise StudyError(study, cause, ON_ITS_GRID)
    marked = np.argwhere(label)
    within = _inside(marked, np.linalg.inv(affine) @ own, shape)
    if (box[0] >= image_box[1]).any() or (box[1] <= image_box[0]).any() or within < INSIDE:
        cause = f"its label lies elsewhere in space than the image, which holds {within:.0%} of what it marks"
        raise StudyError(study, cause, ON_ITS_GRID)
    move = np.linalg.inv(own) @ affine  # from the image's voxels to the label's
    found = affine_transform(label, move[:3, :3], move[:3, 3], shape, order=0, mode="grid-constant", cval=0)
    lost = sorted(set(np.unique(label).tolist()) - set(np.unique(found).tolist()) - {0})
    if lost and not found.any():
        cause = "nothing of what its label marks is left on the image's grid, which is too coarse or lies elsewhere"
        raise StudyError(study, cause, ON_ITS_GRID)
    said = [f"Resampled from {_grid(label.shape, own)} to the image's grid, {_grid(shape, affine)}, nearest neighbour"]
    said += [f"{1 - within:.1%} of what it marks lay outside of the image"] if within < 1 else []
    said += [f"nothing is left of value {', '.join(f'{value:g}' for value in lost)}"] if lost else []
    return found, "; ".join(said)


def _box(affine: NDArray, shape: tuple[int, ...]) -> NDArray:
    """Lowest and highest corner in mm, of the voxels' outer edges: ``(2, 3)``."""
    corners = np.array([[*corner, 1] for corner in product(*((-0.5, n - 0.5) for n in shape))])
    world = (affine @ corners.T)[:3]
    return np.stack([world.min(axis=1), world.max(axis=1)])


def _inside(voxels: NDArray, move: NDArray, shape: tuple[int, ...]) -> float:
    """Share of these voxels ``(N, 3)`` that ``move`` takes into a grid of this shape; 1 for none."""
    there = voxels @ move[:3, :3].T + move[:3, 3]
    return float(((there >= -0.5) & (there <= np.array(shape) - 0.5)).all(axis=1).mean()) if len(voxels) else 1.0


def _grid(shape: tuple[int, ...], affine: NDArray) -> str:
    spacing = " x ".join(f"{edge:.3g}" for edge in voxel_spacing(affine))
    return f"{' x '.join(map(str, shape))} voxels of {spacing} mm"
