"""Weak and strong views of a patch, replayable: ``draw_*`` throws the dice, its deterministic twin applies them.

A weak view is a pose: a small rotation and scaling, the same for image and label. A strong view is a weak one with
another appearance (contrast, brightness, gamma, noise, blur), so the two stay aligned voxel for voxel and the
prediction on the first can teach the second. Images are float ``(C, X, Y, Z)`` of about zero mean and unit variance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from monai.networks.layers import GaussianFilter
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample


@dataclass(frozen=True)
class Pose:
    """Patch axes to volume axes: a 3x3 matrix (voxels to voxels); None leaves the patch as it lies."""

    matrix: np.ndarray | None = None


@dataclass(frozen=True)
class Appearance:
    """gain and shift in sd of the image, exponent of the gamma curve, sd of noise and of blur (voxels), noise seed."""

    gain: float = 1.0
    shift: float = 0.0
    gamma: float = 1.0
    noise: float = 0.0
    blur: float = 0.0
    seed: int = 0


def draw_pose(
    rng: np.random.Generator,
    spacing: tuple[float, ...],
    chance: float = 0.5,
    degrees: float = 15.0,
    scale: float = 0.15,
) -> Pose:
    """With this chance a rotation of up to ``degrees`` about each axis and a scaling of up to ``scale``, in mm."""
    angles, factor, drawn = rng.uniform(-degrees, degrees, 3), math.exp(rng.uniform(-scale, scale)), rng.random()
    if drawn >= chance:
        return Pose()
    edges = np.diag(spacing)
    return Pose(np.linalg.inv(edges) @ Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ edges * factor)


def draw_appearance(rng: np.random.Generator) -> Appearance:
    """Each change with a chance of its own; the ranges follow nnU-Net's (Isensee et al. 2021, supplement)."""
    chance = rng.random(4)
    return Appearance(
        gain=rng.uniform(0.7, 1.3) if chance[0] < 0.5 else 1.0,
        shift=rng.uniform(-0.3, 0.3) if chance[0] < 0.5 else 0.0,
        gamma=math.exp(rng.uniform(-0.4, 0.4)) if chance[1] < 0.5 else 1.0,
        noise=rng.uniform(0.0, 0.3) if chance[2] < 0.4 else 0.0,
        blur=rng.uniform(0.5, 1.2) if chance[3] < 0.2 else 0.0,
        seed=int(rng.integers(2**31)),
    )


def draw_box(rng: np.random.Generator, size: tuple[int, ...]) -> Tensor:
    """A mask ``(1, X, Y, Z)`` true inside a random box of a quarter to a half of the volume, for CutMix.

    Source: Yun et al., ICCV 2019; French et al., BMVC 2020 for its use with pseudo-labels.
    """
    share = rng.uniform(0.25, 0.5) ** (1 / len(size))
    edges = [max(1, round(n * share)) for n in size]
    starts = [int(rng.integers(0, n - edge + 1)) for n, edge in zip(size, edges, strict=True)]
    mask = torch.zeros(1, *size, dtype=torch.bool)
    mask[(slice(None), *(slice(start, start + edge) for start, edge in zip(starts, edges, strict=True)))] = True
    return mask


def mix_pairs(values: Tensor, mask: Tensor) -> Tensor:
    """CutMix between neighbours: inside the mask, ``(B, ...)`` rows 0 and 1, 2 and 3, ... change places.

    Pairs, not a roll, so that a batch split over processes mixes as the whole one does. A last odd row stays.
    """
    order = [row ^ 1 if row ^ 1 < len(values) else row for row in range(len(values))]
    return torch.where(mask, values[order], values)


def pose_grid(pose: Pose, block: tuple[int, ...], size: tuple[int, ...]) -> Tensor | None:
    """Where a patch of this size takes its values from in a block of that shape, for :func:`apply_pose`.

    Returns:
        ``(1, *size, 3)`` as ``grid_sample`` counts: axes backwards, -1 and 1 at the outer edges of the block. None
        for a patch that lies straight. Made once, used for the image and its label.
    """
    if pose.matrix is None:
        return None
    unit = np.diag(2 / np.array(block)) @ pose.matrix @ np.diag(np.array(size) / 2)
    theta = torch.zeros(1, 3, 4)
    theta[0, :, :3] = torch.from_numpy(unit[::-1, ::-1].copy())
    return affine_grid(theta, [1, 1, *size], align_corners=False)


def apply_pose(block: Tensor, grid: Tensor | None, size: tuple[int, ...], mode: str) -> Tensor:
    """A patch ``(K, *size)`` around the centre of ``block (K, X, Y, Z)``.

    Args:
        grid: of :func:`pose_grid`; None cuts the patch out as it lies.
        mode: ``bilinear`` for images, ``nearest`` for labels.
    """
    if grid is None:
        starts = [(n - edge) // 2 for n, edge in zip(block.shape[1:], size, strict=True)]
        return block[(slice(None), *(slice(start, start + edge) for start, edge in zip(starts, size, strict=True)))]
    return grid_sample(block[None], grid, mode=mode, padding_mode="border", align_corners=False)[0]


def reach(pose: Pose, size: tuple[int, ...]) -> tuple[int, ...]:
    """Edges of the block that a patch of this size under this pose takes its values from."""
    if pose.matrix is None:
        return size
    extent = np.abs(pose.matrix) @ np.array(size)
    # the parity of the patch is kept, so that a block has the same centre
    return tuple(math.ceil(edge) + (math.ceil(edge) - n) % 2 + 2 for edge, n in zip(extent, size, strict=True))


def apply_appearance(patch: Tensor, look: Appearance) -> Tensor:
    """The patch ``(C, X, Y, Z)`` with another appearance; the same :class:`Appearance` gives the same result."""
    image = patch.float()
    if look.blur:
        image = GaussianFilter(3, look.blur, truncated=3.0)(image[None])[0]
    if look.gamma != 1:
        low, span = image.amin(), (image.amax() - image.amin()).clamp_min(1e-6)
        image = ((image - low) / span) ** look.gamma * span + low
    if look.gain != 1 or look.shift:
        image = image * look.gain + look.shift
    if look.noise:
        image = image + look.noise * torch.randn(image.shape, generator=torch.Generator().manual_seed(look.seed))
    return image
