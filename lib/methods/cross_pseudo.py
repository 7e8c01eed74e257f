"""Cross pseudo supervision: two networks teach each other on unlabelled patches.

After Chen et al., "Semi-supervised semantic segmentation with cross pseudo supervision", CVPR 2021: same architecture,
different initial weights, hard pseudo-labels, cross-entropy both ways. Different from the paper, as later work does
(Yang et al., UniMatch, CVPR 2023): a pseudo-label comes from the weak view of a patch and teaches on a strong one, with
CutMix between the patches of a pair; Dice beside the cross-entropy; the weight rises along a ramp.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lib.losses.dice_ce import dice_ce
from lib.methods.base import Method, Term, sigmoid_ramp
from lib.studies.views import mix_pairs


class CrossPseudo(Method):
    """Two networks; the prediction of each on the weak view labels the strong view of the other.

    Args:
        weight: of the unlabelled loss after the ramp. ramp: share of the training until then.
        confidence: voxels that the teaching network gives less than this are not learnt from.
    """

    strong_views = 2

    def __init__(self, networks: Sequence[nn.Module], weight: float, ramp: float, confidence: float) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.weight, self.ramp, self.confidence = weight, ramp, confidence

    def losses(self, batch: dict[str, Any], progress: float) -> dict[str, Term]:
        """``supervised`` and, where the batch has unlabelled patches, ``cross``; both are means over the networks."""
        if "weak" not in batch:
            each = [dice_ce(network(batch["image"]), batch["label"]) for network in self.networks]
            return {"supervised": Term(torch.stack(each).mean())}
        pseudo = [self._pseudo_labels(network, batch["weak"], batch["mix"]) for network in self.networks]
        supervised, cross, trusted = [], [], 0
        for network, strong, (label, trust) in zip(self.networks, batch["strong"], reversed(pseudo), strict=True):
            mixed = mix_pairs(strong, batch["mix"])
            logits = network(torch.cat([batch["image"], mixed]))
            labelled, unlabelled = logits.split([len(batch["image"]), len(mixed)])
            supervised.append(dice_ce(labelled, batch["label"]))
            cross.append(dice_ce(unlabelled, label, smooth=1.0, weight=trust))
            trusted += int(trust.sum())
        rising = self.weight * sigmoid_ramp(progress, self.ramp)
        return {
            "supervised": Term(torch.stack(supervised).mean()),
            "cross": Term(torch.stack(cross).mean(), rising, trusted),
        }

    @torch.no_grad()
    def _pseudo_labels(self, network: nn.Module, weak: Tensor, mix: Tensor) -> tuple[Tensor, Tensor]:
        """Hard labels ``(U, 1, X, Y, Z)`` of the weak view and which voxels to trust, mixed as the students' view."""
        certainty, label = network(weak).float().softmax(1).max(1, keepdim=True)
        return mix_pairs(label, mix), mix_pairs(certainty >= self.confidence, mix)
