"""Projection heads: from a network's features to the embeddings that contrastive terms compare."""

from __future__ import annotations

from collections.abc import Sequence

from monai.networks.layers.factories import Conv
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, adaptive_avg_pool3d

SIZE = 64  # length of an embedding


class Projection(nn.Module):
    """Two 1x1 convolutions, position by position: features ``(B, C, ...)`` to embeddings ``(B, 64, ...)``.

    The head takes what is peculiar to the contrast away from the features that segment (Chen et al., SimCLR, ICML
    2020); its convolutional form keeps the map dense (Wang et al., DenseCL, CVPR 2021).
    """

    def __init__(self, dimensions: int, width: int) -> None:
        super().__init__()
        conv = Conv[Conv.CONV, dimensions]
        self.layers = nn.Sequential(conv(width, width, 1), nn.ReLU(inplace=True), conv(width, SIZE, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def pool(x: Tensor, cells: Sequence[int]) -> Tensor:
    """``(B, C, ...)`` averaged over a grid of so many cells along each axis."""
    pooling = adaptive_avg_pool3d if len(cells) == 3 else adaptive_avg_pool2d
    return pooling(x, tuple(cells))  # type: ignore[arg-type]
