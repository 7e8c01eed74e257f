"""Area-similarity contrast (ASC): the soft masks of one image from two branches attract, those of other images repel.

Source: the training code of Zhang et al., "Multi-modal contrastive mutual learning and pseudo-label re-learning for
semi-supervised medical image segmentation" (Semi-CML), Medical Image Analysis 83, 2023. There, one class, and slices
with a lesion only. Ours: several classes, and images without foreground are left out, since two empty masks are
compared by their noise.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lib.losses.info_nce import contrast

EPSILON = 1e-6  # the source's


def similarity(masks: Tensor, smallest: float = 0.0) -> Tensor:
    """Soft Dice with squared sizes, (2 sum ab + e) / (sum a^2 + sum b^2 + e), of each two masks: ``(N, N)``.

    Args:
        masks: ``(N, classes, ...)`` float32, foreground only. The mean over classes counts those of which the two masks
            together hold at least ``smallest`` voxels; it is 0 where there is none.
    """
    flat = masks.flatten(2)
    overlap = torch.einsum("icv,jcv->ijc", flat, flat)
    sizes, mass = flat.square().sum(2), flat.detach().sum(2)
    each = (2 * overlap + EPSILON) / (sizes[:, None] + sizes[None] + EPSILON)
    present = mass[:, None] + mass[None] >= smallest
    return (each * present).sum(2) / present.sum(2).clamp(min=1)


def area_similarity(first: Tensor, second: Tensor, smallest: float, temperature: float = 1.0) -> tuple[Tensor, int]:
    """Mean cross-entropy of each mask's similarities against the mask of the same image by the other branch.

    Both branches learn, as in the source, which has no temperature.

    Args:
        first, second: foreground probabilities ``(B, classes, ...)`` of the same images.
        smallest: an image of which both masks together hold fewer voxels takes no part.

    Returns:
        The loss, between :func:`bounds` by and large, and how many masks (two an image) it was taken over.
    """
    with torch.autocast(first.device.type, enabled=False):
        first, second = first.float(), second.float()
        enough = (first + second).detach().flatten(1).sum(1) >= smallest
        similarities = similarity(torch.cat([first[enough], second[enough]]), smallest) / temperature
    itself = torch.eye(len(similarities), dtype=torch.bool, device=similarities.device)
    partner = itself.roll(len(itself) // 2, 0)
    return contrast(similarities, partner, ~(itself | partner))


def bounds(images: int) -> tuple[float, float]:
    """The loss of perfect masks and that of masks which are all alike, for this many images at temperature 1.

    Similarities lie in [0, 1], so the loss moves in a narrow band and means little without its ends.
    """
    return math.log(1 + (2 * images - 2) / math.e), math.log(2 * images - 1)
