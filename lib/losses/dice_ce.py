"""Cross-entropy plus soft Dice, against labels or hard pseudo-labels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot


def soft_dice(probabilities: Tensor, target: Tensor, smooth: float, weight: Tensor | None = None) -> Tensor:
    """Mean over samples and foreground classes of 1 - (2 sum pt + s) / (sum p + sum t + s); Milletari et al. 2016.

    Dice is taken sample by sample, never over the joined batch, so that a batch split over processes gives the
    same loss.

    Args:
        probabilities: ``(B, classes, ...)``. target: class indices ``(B, ...)``. weight: voxels that count, same shape.
        smooth: keeps a sample without foreground from pushing every voxel to background (1 for pseudo-labels).
    """
    classes = probabilities.shape[1]
    truth = one_hot(target, classes).movedim(-1, 1)[:, 1:].to(probabilities.dtype)
    found = probabilities[:, 1:]
    counts = torch.ones_like(found[:, :1]) if weight is None else weight[:, None]
    space = tuple(range(2, probabilities.ndim))
    overlap, sizes = (counts * found * truth).sum(space), (counts * (found + truth)).sum(space)
    return (1 - (2 * overlap + smooth) / (sizes + smooth)).mean()


def dice_ce(logits: Tensor, target: Tensor, smooth: float = 1e-5, weight: Tensor | None = None) -> Tensor:
    """Cross-entropy + soft Dice in float32, whatever the precision of the logits.

    Args:
        logits: ``(B, classes, ...)``. target: class indices ``(B, 1, ...)``. weight: as target; 0 leaves a voxel out.
            Cross-entropy is averaged over all voxels, so a batch with little to trust weighs little.
    """
    with torch.autocast(logits.device.type, enabled=False):
        logits, target = logits.float(), target.squeeze(1)
        trust = None if weight is None else weight.squeeze(1).float()
        voxelwise = cross_entropy(logits, target, reduction="none")
        entropy = voxelwise.mean() if trust is None else (voxelwise * trust).mean()
        return entropy + soft_dice(logits.softmax(1), target, smooth, trust)
