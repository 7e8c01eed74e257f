"""Weak and strong views of a patch, replayable: ``draw_*`` throws the dice, its deterministic twin applies them.

A weak view is a pose: a small rotation and scaling, the same for image and label. A strong view is a weak one with
another appearance (contrast, brightness, gamma, noise, blur), so the two stay aligned voxel for voxel and the
prediction on the first can teach the second. Images are float ``(C, X, Y, Z)``, or ``(C, H, W)`` in dimension 2, of
about zero mean and unit variance.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import torch
from monai.networks.layers import GaussianFilter
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

DEGREES = {2: 30.0, 3: 15.0}  # in the plane of a slice, nothing is cut off by its few neighbours
COLOUR = 0.1  # sd of the image: how far the colours of a picture shift against each other, as stains and lights do


@dataclass(frozen=True)
class Pose:
    """Patch axes to volume axes: a 3x3 or 2x2 matrix (voxels to voxels); None leaves the patch as it lies."""

    matrix: np.ndarray | None = None


@dataclass(frozen=True)
class Appearance:
    """gain and shift in sd of the image, exponent of the gamma curve, sd of noise and of blur (voxels), noise seed;
    gains and shifts of each colour beside the common ones, if they differ."""

    gain: float = 1.0
    shift: float = 0.0
    gamma: float = 1.0
    noise: float = 0.0
    blur: float = 0.0
    seed: int = 0
    gains: tuple[float, ...] = ()
    shifts: tuple[float, ...] = ()


def draw_pose(
    rng: np.random.Generator,
    spacing: tuple[float, ...],
    chance: float = 0.5,
    scale: float = 0.15,
    mirror: bool = False,
) -> Pose:
    """With this chance a rotation (about each axis, by :data:`DEGREES` at most) and a scaling up to ``scale``, in mm.

    Args:
        spacing: mm; three numbers for a volume, two for a slice, which is turned in its plane.
        mirror: mirror each axis with a chance of one half, for images without anatomical axes.
    """
    axes = len(spacing)
    angles = rng.uniform(-DEGREES[axes], DEGREES[axes], 3 if axes == 3 else 1)
    factor, drawn = math.exp(rng.uniform(-scale, scale)), rng.random()
    signs = rng.choice((-1.0, 1.0), axes) if mirror else np.ones(axes)
    if drawn >= chance:
        return Pose() if (signs > 0).all() else Pose(np.diag(signs))
    euler, edges = "xyz" if axes == 3 else "z", np.diag(spacing)
    turn = Rotation.from_euler(euler, angles, degrees=True).as_matrix().reshape(3, 3)[:axes, :axes]
    return Pose(np.linalg.inv(edges) @ turn @ edges * factor @ np.diag(signs))


def draw_appearance(rng: np.random.Generator, channels: int = 1) -> Appearance:
    """Each change with a chance of its own; the ranges follow nnU-Net's (Isensee et al. 2021, supplement).

    Several channels, the colours of a picture, also change a little against each other.
    """
    chance = rng.random(4)
    look = Appearance(
        gain=rng.uniform(0.7, 1.3) if chance[0] < 0.5 else 1.0,
        shift=rng.uniform(-0.3, 0.3) if chance[0] < 0.5 else 0.0,
        gamma=math.exp(rng.uniform(-0.4, 0.4)) if chance[1] < 0.5 else 1.0,
        noise=rng.uniform(0.0, 0.3) if chance[2] < 0.4 else 0.0,
        blur=rng.uniform(0.5, 1.2) if chance[3] < 0.2 else 0.0,
        seed=int(rng.integers(2**31)),
    )
    if channels == 1 or rng.random() >= 0.5:
        return look
    gains, shifts = rng.uniform(1 - COLOUR, 1 + COLOUR, channels), rng.uniform(-COLOUR, COLOUR, channels)
    return dataclasses.replace(look, gains=tuple(gains.tolist()), shifts=tuple(shifts.tolist()))


def draw_box(rng: np.random.Generator, size: tuple[int, ...]) -> Tensor:
    """A mask ``(1, *size)`` true inside a random box of a quarter to a half of the patch, for CutMix.

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
        ``(1, *size, axes)`` as ``grid_sample`` counts: axes backwards, -1 and 1 at the outer edges of the block. None
        for a patch that lies straight. Made once, used for the image and its label.
    """
    if pose.matrix is None:
        return None
    unit = np.diag(2 / np.array(block)) @ pose.matrix @ np.diag(np.array(size) / 2)
    axes = len(size)
    theta = torch.zeros(1, axes, axes + 1)
    theta[0, :, :axes] = torch.from_numpy(unit[::-1, ::-1].copy())
    return affine_grid(theta, [1, 1, *size], align_corners=False)


def apply_pose(block: Tensor, grid: Tensor | None, size: tuple[int, ...], mode: str) -> Tensor:
    """A patch ``(K, *size)`` around the centre of ``block (K, *any larger size)``.

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
    """The patch ``(C, *size)`` with another appearance; the same :class:`Appearance` gives the same result."""
    image = patch.float()
    if look.blur:
        image = GaussianFilter(image.ndim - 1, look.blur, truncated=3.0)(image[None])[0]
    if look.gamma != 1:
        low, span = image.amin(), (image.amax() - image.amin()).clamp_min(1e-6)
        image = ((image - low) / span) ** look.gamma * span + low
    if look.gain != 1 or look.shift:
        image = image * look.gain + look.shift
    if look.gains:
        colours = (-1, *(1,) * (image.ndim - 1))
        image = image * torch.tensor(look.gains).view(colours) + torch.tensor(look.shifts).view(colours)
    if look.noise:
        image = image + look.noise * torch.randn(image.shape, generator=torch.Generator().manual_seed(look.seed))
    return image
