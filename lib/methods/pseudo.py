"""Pseudo-labels: what a teacher says of a weak view, fitted to the strong view that the student sees."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lib.losses.dice_ce import dice_ce
from lib.studies.views import mix_pairs


@dataclass(frozen=True)
class PseudoLabel:
    """A teacher's answer.

    Attributes:
        label: class indices ``(B, 1, ...)``. certainty: the probability that it gave them, same shape.
        confidence: what has less certainty is not trusted.
    """

    label: Tensor
    certainty: Tensor
    confidence: float = 0.0

    @classmethod
    @torch.no_grad()
    def of(cls, probabilities: Tensor, confidence: float = 0.0) -> PseudoLabel:
        """The most probable class of ``(B, classes, ...)``."""
        certainty, label = probabilities.max(1, keepdim=True)
        return cls(label, certainty, confidence)

    def mixed(self, mask: Tensor) -> PseudoLabel:
        """As the students' view was mixed, by :func:`lib.studies.views.mix_pairs`; mask of the shape that it takes."""
        return PseudoLabel(mix_pairs(self.label, mask), mix_pairs(self.certainty, mask), self.confidence)

    def loss(self, logits: Tensor) -> Tensor:
        """Cross-entropy and Dice of logits ``(B, classes, ...)`` against this; smoothed, as it may well be empty."""
        return dice_ce(logits, self.label, smooth=1.0, weight=self.trust)

    @property
    def trust(self) -> Tensor:
        """Which voxels are certain enough, bool ``(B, 1, ...)``."""
        return self.certainty >= self.confidence

    @property
    def n_valid(self) -> int:
        """Trusted voxels."""
        return int(self.trust.sum())
