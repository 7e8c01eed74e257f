"""Class-aware contrast of blocks of voxels, between two branches.

Wu et al., EMBC 2023, name a patch-level contrast in their abstract; neither its formula nor its code was in reach. This
is our reading after that abstract: the mean embedding of a block, under the class that most of its voxels have.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lib.losses.info_nce import info_nce
from lib.losses.pixel_contrast import embeddings_at, sample_anchors


def _split(maps: Tensor, axis: int, size: int) -> Tensor:
    """One axis as two, blocks and their voxels; what the far border leaves of a block is left out.

    A block larger than the map is cut to it.
    """
    size = min(size, maps.shape[axis])
    return maps.narrow(axis, 0, maps.shape[axis] // size * size).unflatten(axis, (-1, size))


def block_classes(labels: Tensor, block: Sequence[int], share: float) -> Tensor:
    """The class most voxels of each block have, ``(B, *blocks)``, of labels ``(B, ...)``; -1 where too few have it.

    Args:
        labels: class indices; -1: unknown, which counts as a class of its own. block: size in voxels, one an axis.
        share: of a block's voxels that its class must have at least.
    """
    for axis, size in enumerate(block, 1):
        labels = _split(labels, axis, size).movedim(axis + 1, -1)
    voxels = labels.flatten(-len(block))
    majority = voxels.mode(-1).values
    enough = (voxels == majority[..., None]).float().mean(-1) >= share
    return majority.masked_fill(~enough, -1)


def block_embeddings(features: Tensor, block: Sequence[int]) -> Tensor:
    """The mean embedding of each block, ``(B, D, *blocks)`` float32, of a map ``(B, D, ...)``."""
    for axis, size in enumerate(block, 2):  # axis by axis: four times quicker backwards than all at once
        features = _split(features, axis, size).mean(axis + 1, dtype=torch.float32)
    return features


def patch_contrast(
    first: Tensor,
    second: Tensor,
    classes: Tensor,
    temperature: float,
    most: int = 64,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, int]:
    """InfoNCE of the blocks of two branches: same class attracts, other classes repel, within and across branches.

    So the same block in the other branch is always a positive. Both branches learn.

    Args:
        first, second: ``(B, D, *blocks)``, the same blocks. classes: ``(B, *blocks)`` of :func:`block_classes`.
        most: blocks of each class, drawn at random beyond it: background does not dominate, and memory is bounded by
            (2 classes x most)^2.
    """
    indices, kinds = sample_anchors(classes, None, most, generator)
    blocks = torch.cat([embeddings_at(first, indices), embeddings_at(second, indices)])
    same = kinds.repeat(2)[:, None] == kinds.repeat(2)[None]
    itself = torch.eye(len(blocks), dtype=torch.bool, device=blocks.device)
    return info_nce(blocks, blocks, same & ~itself, ~same, temperature)
