"""Networks by name and size, all from ``monai.networks``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monai.networks.nets import UNet
from torch import nn

WIDTHS = {
    "small": (16, 32, 64, 128),
    "medium": (32, 64, 128, 256),
    "large": (32, 64, 128, 256, 320),
}
RESIDUAL_UNITS = {"residual_unet": 2, "unet": 0}
SMALLEST_EDGE = 4  # voxels; an axis is not halved below it


def build_network(name: str, size: str, channels: int, classes: int, patch: Sequence[int]) -> nn.Module:
    """A segmentation network: ``(B, channels, X, Y, Z)`` to logits ``(B, classes, X, Y, Z)``.

    Instance norm, because batches of two 3D patches carry no usable batch statistics. Axes are halved level by
    level as long as the patch leaves :data:`SMALLEST_EDGE` voxels, so thick slices are halved less often.

    Args:
        classes: background included.
        patch: voxels; decides the strides.
    """
    widths = WIDTHS[size]
    return UNet(
        spatial_dims=len(patch),
        in_channels=channels,
        out_channels=classes,
        channels=widths,
        strides=strides(patch, len(widths) - 1),
        num_res_units=RESIDUAL_UNITS[name],
        norm="INSTANCE",
        act="PRELU",  # a leaky ReLU of slope 0.01 left small classes unlearnt for hundreds of iterations
    )


def strides(patch: Sequence[int], levels: int) -> list[Any]:
    """The stride of each level and axis: 2 while the axis stays even and long enough, else 1."""
    edges, steps = list(patch), []
    for _ in range(levels):
        step = tuple(2 if edge % 2 == 0 and edge // 2 >= SMALLEST_EDGE else 1 for edge in edges)
        edges = [edge // factor for edge, factor in zip(edges, step, strict=True)]
        steps.append(step)
    return steps
