"""Projection heads: from a network's features to the embeddings that contrastive terms compare."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, adaptive_avg_pool3d

SIZE = 64  # length of an embedding


class Projection(nn.Module):
    """Two layers, position by position: features ``(B, C, ...)`` or ``(N, C)`` to embeddings ``(B, 64, ...)``.

    As 1x1 convolutions, so that a map stays dense (Wang et al., DenseCL, CVPR 2021). The head takes what is peculiar to
    the contrast away from the features that segment (Chen et al., SimCLR, ICML 2020).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, width), nn.ReLU(inplace=True), nn.Linear(width, SIZE))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, ...)`` to ``(B, size, ...)``, position by position."""
        return self.layers(x.movedim(1, -1)).movedim(-1, 1)


def pool(x: Tensor, cells: Sequence[int]) -> Tensor:
    """``(B, C, ...)`` averaged over a grid of so many cells along each axis."""
    pooling = adaptive_avg_pool3d if len(cells) == 3 else adaptive_avg_pool2d
    return pooling(x, tuple(cells))  # type: ignore[arg-type]
