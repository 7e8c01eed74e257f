"""Networks by name and size, fitted to the patch."""

from __future__ import annotations

from collections.abc import Sequence

from lib.networks.unet import Decoder, Encoder, Shape, UNet

# up to medium size the first level halves the grid at once: most of the time would go into convolutions before it
WIDTHS = {"small": (16, 32, 64, 128), "medium": (32, 64, 128, 256), "large": (32, 64, 128, 256, 320)}
RESIDUAL = {"residual_unet": True, "unet": False}
SMALLEST_EDGE = 4  # voxels; an axis is not halved below it


def network_shape(name: str, size: str, channels: int, classes: int, patch: Sequence[int]) -> Shape:
    """The shape of a network for patches of these edges.

    Axes are halved level by level as long as the patch leaves :data:`SMALLEST_EDGE` voxels, so thick slices are
    halved less often. Slices, which are larger than patches, get a level more.

    Args:
        classes: background included. patch: voxels, two or three edges.
    """
    widths = WIDTHS[size] if len(patch) == 3 else (*WIDTHS[size], WIDTHS[size][-1])
    whole = [(1,) * len(patch)] if size == "large" else []
    steps = [*whole, *strides(patch, len(widths) - len(whole))]
    return Shape(len(patch), channels, classes, widths, tuple(steps), RESIDUAL[name])


def build_network(name: str, size: str, channels: int, classes: int, patch: Sequence[int]) -> UNet:
    """A segmentation network: ``(B, channels, ...)`` to logits ``(B, classes, ...)``; see :func:`network_shape`."""
    shape = network_shape(name, size, channels, classes, patch)
    return UNet(shape, Encoder(shape), Decoder(shape))


def build_branches(name: str, size: str, channels: int, classes: int, patch: Sequence[int]) -> list[UNet]:
    """Two networks that share one encoder and differ in their decoders."""
    shape = network_shape(name, size, channels, classes, patch)
    encoder = Encoder(shape)
    return [UNet(shape, encoder, Decoder(shape, upsampling)) for upsampling in ("transposed", "linear")]


def strides(patch: Sequence[int], levels: int) -> list[tuple[int, ...]]:
    """The stride of each level and axis: 2 while the axis stays even and long enough, else 1."""
    edges, steps = list(patch), []
    for _ in range(levels):
        step = tuple(2 if edge % 2 == 0 and edge // 2 >= SMALLEST_EDGE else 1 for edge in edges)
        edges = [edge // factor for edge, factor in zip(edges, step, strict=True)]
        steps.append(step)
    return steps
