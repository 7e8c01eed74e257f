"""The kernel of all contrastive losses: InfoNCE with masks, in float32, by log-sum-exp.

Source: van den Oord et al., "Representation learning with contrastive predictive coding", 2018; with several positives
an anchor as in Khosla et al., "Supervised contrastive learning", NeurIPS 2020. Unlike there, no denominator holds other
positives, as in Wang et al., "Exploring cross-image pixel contrast for semantic segmentation", ICCV 2021: positives do
not push each other away.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize, softplus

SHORTEST = 1e-4  # what is shorter stays so: noise in float16, and its direction would have a gradient beyond its range


def unit(vectors: Tensor, dim: int = -1, norm: float = 2.0) -> Tensor:
    """Vectors of any shape at length 1 along ``dim``, float32: squares of 128 features of size 23 overflow float16."""
    return normalize(vectors.float(), p=norm, dim=dim, eps=SHORTEST)


def contrast(similarities: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, int]:
    """Mean over anchors of the mean over their positives j of -log[e^s_j / (e^s_j + sum over negatives of e^s_n)].

    Args:
        similarities: ``(N, M)`` of N anchors and M keys, divided by the temperature.
        positive, negative: ``(N, M)`` bool, disjoint. What is in neither (an anchor itself, a key that is not to be
            trusted) plays no part.

    Returns:
        The loss, a float32 scalar, and over how many anchors it was taken. Those without a positive or without a
        negative are left out; if none is left, the loss is a zero that keeps the graph and has a gradient of 0.
    """
    with torch.autocast(similarities.device.type, enabled=False):
        valid = positive.any(1) & negative.any(1)
        s, positive, negative = similarities[valid].float(), positive[valid], negative[valid]
        if not len(s):
            return s.sum(), 0
        # -inf is safe: each row that is left has a negative
        pushing = s.masked_fill(~negative, -torch.inf).logsumexp(1, keepdim=True)
        each = softplus(pushing - s).masked_fill(~positive, 0.0).sum(1) / positive.sum(1)
        return each.mean(), len(s)


def info_nce(
    anchors: Tensor, keys: Tensor, positive: Tensor, negative: Tensor, temperature: float
) -> tuple[Tensor, int]:
    """:func:`contrast` of the cosines of anchors ``(N, D)`` and keys ``(M, D)``, in float32 whatever comes in.

    Gradients flow into both; detach the keys where only the anchors are to learn. Memory: a few ``(N, M)`` of float32.

    Args:
        positive, negative: ``(N, M)`` bool, disjoint. temperature: > 0; at 0.05, e^s is beyond float16, not float32.
    """
    with torch.autocast(anchors.device.type, enabled=False):
        similarities = unit(anchors) @ unit(keys).T / temperature
    return contrast(similarities, positive, negative)
