"""Rectified pseudo-supervision and voxel contrast with confident negatives.

Source: the public code of Zhao et al., "RCPS: rectified contrastive pseudo supervision for semi-supervised medical
image segmentation", IEEE JBHI 28(1), 2024. Ours: the weight may be detached; negatives of the anchor's own class never
slip in where those of others run out; a bound on the anchors; one matrix product instead of a gather for each voxel.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lib.losses.info_nce import contrast, unit
from lib.losses.pixel_contrast import draw


def rectified_pseudo_supervision(
    logits_view: Tensor, logits_original: Tensor, sharpening: float = 0.5, detach_weight: bool = False
) -> Tensor:
    """mean e^-KL CE(view, sharpened original) + mean KL(original || view), voxel by voxel; only the view learns.

    Args:
        logits_view, logits_original: ``(B, classes, ...)`` of the same voxels.
        sharpening: temperature of the pseudo-label. detach_weight: e^-KL weighs only; in the source it carries a
            gradient, by which a larger KL makes the cross-entropy cheaper.
    """
    with torch.autocast(logits_view.device.type, enabled=False):
        view, original = logits_view.float().log_softmax(1), logits_original.detach().float()
        target, sharp = original.log_softmax(1), (original / sharpening).softmax(1)
        divergence = (target.exp() * (target - view)).sum(1)
        weight = (divergence.detach() if detach_weight else divergence).neg().exp()
        return (weight * -(sharp * view).sum(1)).mean() + divergence.mean()


def cosine_consistency(first: Tensor, second: Tensor) -> Tensor:
    """mean (1 - cosine) of the logits ``(B, classes, ...)`` of two views of the same voxels; both learn."""
    with torch.autocast(first.device.type, enabled=False):
        return (1 - (unit(first, 1) * unit(second, 1)).sum(1)).mean()


@torch.no_grad()
def confident_negatives(probabilities: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """For each class the k most confident voxels that are predicted to be of another one.

    They depend on an anchor's class only, so C sets stand for the source's set for each voxel.

    Args:
        probabilities: ``(N, C)`` of the other stream's voxels (of the unlabelled for the labelled, and back).

    Returns:
        Indices ``(C, min(k, N))``, the most confident first, and which of them exist: fewer than k voxels may be of
        another class, and the rest must not be used.
    """
    confidence, predicted = probabilities.float().max(1)
    own = predicted[None] == torch.arange(probabilities.shape[1], device=predicted.device)[:, None]
    best, indices = confidence.masked_fill(own, -1.0).topk(min(k, len(confidence)), dim=1)
    return indices, best >= 0


def voxel_contrast(
    first: Tensor,
    second: Tensor,
    classes: Tensor,
    others: Tensor,
    negatives: tuple[Tensor, Tensor],
    temperature: float,
    most: int = 1024,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, int]:
    """InfoNCE of each voxel in two views, both ways; the confident voxels of other classes elsewhere repel.

    Gradients flow into both views and into ``others``, as in the source; detach ``others`` to stop that.

    Args:
        first, second: embeddings ``(N, D)`` of the same voxels in two views. classes: predicted for them, ``(N,)``.
        others: embeddings of the other stream's voxels, of which ``negatives`` are :func:`confident_negatives`.
        most: voxels drawn as anchors; the source takes all.
    """
    chosen = draw(len(first), most, generator).to(first.device)
    indices, exists = negatives
    kinds = torch.arange(len(indices), device=indices.device).repeat_interleave(indices.shape[1])
    repels = (classes[chosen, None] == kinds[None]) & exists.flatten()
    with torch.autocast(first.device.type, enabled=False):
        one, two, keys = unit(first[chosen]), unit(second[chosen]), unit(others[indices.flatten()])
        anchors, partners = torch.cat([one, two]), torch.cat([two, one])
        attraction = (anchors * partners).sum(1, keepdim=True)
        similarities = torch.cat([attraction, anchors @ keys.T], 1) / temperature
    negative = torch.cat([torch.zeros_like(repels[:, :1]), repels], 1).repeat(2, 1)
    positive = torch.zeros_like(negative)
    positive[:, 0] = True
    return contrast(similarities, positive, negative)
