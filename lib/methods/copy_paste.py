"""Bidirectional copy-paste: labelled and unlabelled patches exchange a box, a teacher labels the unlabelled part.

After Bai et al., CVPR 2023: labelled foreground in unlabelled background and the reverse, so that both sides share one
distribution; a first phase pastes between labelled patches only; the unlabelled voxels weigh half. Ours: the boxes of
CutMix, strong views, no largest-component clean-up of the pseudo-labels (a structure may have several parts).
"""

from __future__ import annotations

from typing import Any

import torch

from lib.losses.dice_ce import dice_ce
from lib.methods.base import Term
from lib.methods.mean_teacher import Taught
from lib.methods.monitors import watch
from lib.methods.pasting import Pasted
from lib.methods.pseudo import PseudoLabel
from lib.networks.unet import UNet
from lib.studies.views import mix_pairs

FIRST_PHASE = 0.1  # share of the training that pastes between labelled patches only (2,000 of 17,000 in the source)
UNLABELLED = 0.5  # weight of the unlabelled voxels


class CopyPaste(Taught):
    """Terms ``supervised`` (true labels in the mixed patches) and, after the first phase, ``pasted``."""

    def __init__(self, network: UNet, weight: float, ramp: float, decay: float, confidence: float) -> None:
        super().__init__(network, weight, ramp, decay)
        self.confidence = confidence

    def losses(self, batch: dict[str, Any], progress: float) -> dict[str, Term]:
        """Of labelled patches alone ``supervised``, at first with labelled ones pasted into each other."""
        image, label = batch["image"], batch["label"]
        if "weak" not in batch:
            return {"supervised": Term(dice_ce(self.student(image), label))}
        if progress < FIRST_PHASE:
            box = batch["mix"][torch.arange(len(image)) // 2 % len(batch["mix"])]  # one for both of a pair
            return {"supervised": Term(dice_ce(self.student(mix_pairs(image, box)), mix_pairs(label, box)))}
        said = self.teacher(batch["weak"])
        pasted = Pasted.of(image, label, batch["strong"][0], PseudoLabel.of(said, self.confidence), batch["mix"])
        logits = self.student(pasted.image)
        found = pasted.unpasted(logits.detach().float().softmax(1), batch["mix"])
        self.monitors = watch([], label, [said, found])
        supervised, unsupervised = pasted.losses(logits)
        weight = UNLABELLED * self.rising(progress)
        return {
            "supervised": Term(supervised),
            "pasted": Term(unsupervised, weight, int(pasted.trusted.sum())),
        }
