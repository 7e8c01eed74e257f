"""Disturbing the encoded features between encoder and decoder.

After Ouali et al., "Semi-supervised semantic segmentation with cross-consistency training", CVPR 2020: each kind as
there, one kind a call, drawn anew; applied to the bottleneck and to the skips.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import dropout

from lib.networks.unet import Features

DROPPED = 0.3  # share of the channels
NOISE = 0.3  # largest relative change of a feature
BRIGHTEST = (0.7, 0.9)  # positions above this share of the strongest activation are dropped


def perturb(features: Features) -> Features:
    """The features under one kind of perturbation, drawn from torch's random state."""
    kinds: list[Callable[[Tensor], Tensor]] = [channel_dropout, feature_dropout, feature_noise]
    kind = kinds[int(torch.randint(len(kinds), ()))]
    return [kind(level) for level in features]


def channel_dropout(x: Tensor) -> Tensor:
    """Whole channels of ``(B, C, ...)`` set to 0, the others scaled up."""
    mask = dropout(x.new_ones(x.shape[:2]), DROPPED)
    return x * mask[(..., *[None] * (x.ndim - 2))]


def feature_dropout(x: Tensor) -> Tensor:
    """Positions of ``(B, C, ...)`` where the mean activation is strongest set to 0: what is easiest is hidden."""
    attention = x.detach().abs().mean(1, keepdim=True)
    space = tuple(range(2, x.ndim))
    low, high = BRIGHTEST
    limit = attention.amax(space, keepdim=True) * (low + (high - low) * float(torch.rand(())))
    return x * (attention < limit)


def feature_noise(x: Tensor) -> Tensor:
    """Each feature of ``(B, C, ...)`` times 1 + U(-0.3, 0.3), the same noise for the whole batch."""
    return x * (1 + x.new_empty(x.shape[1:]).uniform_(-NOISE, NOISE))
