"""Cross-entropy plus soft Dice against soft labels, which keep what their teacher was unsure of."""

from __future__ import annotations

import torch
from torch import Tensor


def soft_dice_ce(logits: Tensor, target: Tensor, smooth: float = 1.0) -> Tensor:
    """Cross-entropy + 1 - (2 sum pt + s) / (sum p^2 + sum t^2 + s), in float32; only the logits learn.

    Squared sizes, so that a prediction equal to a soft target is a minimum, as in Zhang et al., MedIA 83 (2023).

    Args:
        logits: ``(B, classes, ...)``. target: probabilities, same shape. smooth: voxels; an empty target is no alarm.
    """
    with torch.autocast(logits.device.type, enabled=False):
        log_p, target = logits.float().log_softmax(1), target.detach().float()
        entropy = -(target * log_p).sum(1).mean()
        p, t = log_p.exp()[:, 1:], target[:, 1:]
        space = tuple(range(2, p.ndim))
        overlap, sizes = (p * t).sum(space), (p.square() + t.square()).sum(space)
        return entropy + (1 - (2 * overlap + smooth) / (sizes + smooth)).mean()
