"""From voxels to the cells of a decoder's feature map, where contrastive terms take their embeddings.

A cell of the finest map may be that of 2x2x2 voxels. Its embedding is that of its middle, so what is said of one corner
voxel would lie half a cell beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d, adaptive_max_pool3d, interpolate


@torch.no_grad()
def cell_classes(classes: Tensor, grid: Sequence[int]) -> Tensor:
    """Classes ``(B, 1, ...)`` of voxels as those of cells, ``(B, *grid)``: what all voxels of a cell have, else -1.

    A cell across a border is of neither class: to give it one would be chance, and such cells are most of the hard
    anchors.
    """
    voxels = classes.float()
    pool = adaptive_max_pool3d if len(grid) == 3 else adaptive_max_pool2d
    highest, lowest = pool(voxels, tuple(grid)), -pool(-voxels, tuple(grid))
    return highest.masked_fill(highest != lowest, -1).squeeze(1).long()


@torch.no_grad()
def cell_probabilities(logits: Tensor, grid: Sequence[int]) -> Tensor:
    """The mean probabilities of each cell, ``(B, classes, *grid)`` float32, of logits ``(B, classes, ...)``."""
    return interpolate(logits.float().softmax(1), size=tuple(grid), mode="area")
