"""A U-Net in two parts that methods can reach: an encoder to a pyramid of features, a decoder from it to logits.

After Ronneberger et al., MICCAI 2015, and Isensee et al., Nature Methods 2021 (instance norm, strided convolutions,
transposed convolutions). MONAI's networks keep encoder and decoder in one forward pass; the methods here disturb the
features between the two, hang two decoders on one encoder, and contrast a decoder's features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from monai.networks.layers.factories import Conv, Norm
from torch import Tensor, nn
from torch.nn.functional import interpolate

SLOPE = 0.2  # of the leaky ReLU; with 0.01 a small class stayed unlearnt for hundreds of iterations
Features = list[Tensor]  # finest first, the bottleneck last


@dataclass(frozen=True)
class Shape:
    """What a network looks like.

    Attributes:
        dimensions: spatial axes, 2 or 3. channels: of the image. classes: background included.
        widths: channels of each level, finest first. strides: of each level and axis, the first level's included.
        residual: an identity beside each pair of convolutions (He et al., CVPR 2016).
    """

    dimensions: int
    channels: int
    classes: int
    widths: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    residual: bool = True


class Decoded(NamedTuple):
    """What a decoder gives: logits ``(B, classes, ...)`` on the image's grid, its feature maps finest first."""

    logits: Tensor
    features: Features


class Block(nn.Module):
    """Two convolutions with instance norm and leaky ReLU: batches of two patches carry no usable batch statistics."""

    def __init__(self, shape: Shape, given: int, width: int, stride: Any = 1) -> None:
        super().__init__()
        conv, norm = Conv[Conv.CONV, shape.dimensions], Norm[Norm.INSTANCE, shape.dimensions]
        layers: list[nn.Module] = []
        for place, source in enumerate((given, width)):
            layers += [conv(source, width, 3, stride if place == 0 else 1, padding=1, bias=False)]
            layers += [norm(width, affine=True), nn.LeakyReLU(SLOPE, inplace=True)]
        self.layers = nn.Sequential(*layers)
        self.skip = nn.Sequential(
            _shrink(shape.dimensions, stride), conv(given, width, 1, bias=False)
        ) if shape.residual else None  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """``(B, given, ...)`` to ``(B, width, ...)``."""
        return self.layers(x) if self.skip is None else self.layers(x) + self.skip(x)


class Encoder(nn.Module):
    """``(B, channels, ...)`` to one feature map a level; any size, an odd edge is rounded up when it is halved."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        given = (shape.channels, *shape.widths[:-1])
        levels = zip(given, shape.widths, shape.strides, strict=True)
        self.levels = nn.ModuleList(Block(shape, source, width, stride) for source, width, stride in levels)

    def forward(self, x: Tensor) -> Features:
        """``(B, channels, ...)`` to ``(B, width, ...)`` of each level, the finest first."""
        features = []
        for level in self.levels:
            x = level(x)
            features.append(x)
        return features


class Decoder(nn.Module):
    """Features of an :class:`Encoder` to logits on the image's grid.

    Args:
        upsampling: ``transposed`` convolutions, or ``linear`` interpolation after a 1x1 convolution: the two decoders
            that teach each other over one encoder are to differ (Wu et al., MC-Net+, MedIA 2022).
    """

    def __init__(self, shape: Shape, upsampling: str = "transposed") -> None:
        super().__init__()
        coarse_first = range(len(shape.widths) - 2, -1, -1)
        self.ups = nn.ModuleList(
            _Up(shape, shape.widths[level + 1], shape.widths[level], shape.strides[level + 1], upsampling)
            for level in coarse_first
        )
        self.levels = nn.ModuleList(Block(shape, 2 * shape.widths[k], shape.widths[k]) for k in coarse_first)
        self.head = _Up(shape, shape.widths[0], shape.classes, shape.strides[0], "linear")

    def forward(self, features: Features, size: Sequence[int]) -> Decoded:
        """Args: size: spatial edges of the image."""
        *skips, x = features
        maps = [x]
        for up, level, skip in zip(self.ups, self.levels, reversed(skips), strict=True):
            x = level(torch.cat([up(x, skip.shape[2:]), skip], 1))
            maps.append(x)
        return Decoded(self.head(x, size), maps[::-1])


class UNet(nn.Module):
    """Image ``(B, channels, ...)`` to logits ``(B, classes, ...)``; :meth:`decode` and ``encoder`` for the steps."""

    def __init__(self, shape: Shape, encoder: Encoder, decoder: Decoder) -> None:
        super().__init__()
        self.shape, self.encoder, self.decoder = shape, encoder, decoder

    def forward(self, x: Tensor) -> Tensor:
        """``(B, channels, ...)`` to logits ``(B, classes, ...)``."""
        return self.decode(x).logits

    def decode(self, x: Tensor) -> Decoded:
        """Logits and the decoder's features of ``(B, channels, ...)``."""
        return self.decoder(self.encoder(x), x.shape[2:])


def _shrink(dimensions: int, stride: Any) -> nn.Module:
    """An average keeps all voxels where a strided 1x1 convolution would look at one of eight.

    Where nothing shrinks there is nothing to average: over single voxels it took a fifth of a step on a CPU.
    """
    if stride == 1 or set(stride) == {1}:
        return nn.Identity()
    pool = nn.AvgPool3d if dimensions == 3 else nn.AvgPool2d
    return pool(stride, stride, ceil_mode=True, count_include_pad=False)


class _Up(nn.Module):
    """From a coarser grid to a finer one of this size and so many channels; 1x1 where the stride is 1."""

    def __init__(self, shape: Shape, given: int, width: int, stride: Sequence[int], upsampling: str) -> None:
        super().__init__()
        transposed = upsampling == "transposed" and max(stride) > 1
        kind = Conv.CONVTRANS if transposed else Conv.CONV
        edge = tuple(stride) if transposed else 1
        self.layer = Conv[kind, shape.dimensions](given, width, edge, edge)
        self.mode = "trilinear" if shape.dimensions == 3 else "bilinear"

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:
        x = self.layer(x)
        if isinstance(self.layer, (nn.ConvTranspose2d, nn.ConvTranspose3d)):
            # an odd edge was rounded up on the way down
            window: tuple[Any, ...] = (..., *(slice(edge) for edge in size))
            return x[window]
        return x if x.shape[2:] == tuple(size) else interpolate(x, size=tuple(size), mode=self.mode)
