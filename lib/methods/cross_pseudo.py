"""Cross pseudo supervision: two networks teach each other on unlabelled patches.

After Chen et al., "Semi-supervised semantic segmentation with cross pseudo supervision", CVPR 2021: same architecture,
different initial weights, hard pseudo-labels, cross-entropy both ways. Different from the paper, as later work does
(Yang et al., UniMatch, CVPR 2023): a pseudo-label comes from the weak view of a patch and teaches on a strong one, with
CutMix between the patches of a pair; Dice beside the cross-entropy; the weight rises along a ramp.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lib.losses.dice_ce import dice_ce
from lib.methods.base import Method, Term, sigmoid_ramp
from lib.methods.monitors import watch
from lib.methods.pseudo import PseudoLabel
from lib.networks.perturbation import perturb
from lib.networks.unet import Decoded, UNet
from lib.studies.views import mix_pairs


@dataclass(frozen=True)
class Lesson:
    """One branch on one batch: what it decoded of the labelled patches and the mixed strong views (joined in this
    order), and the pseudo-label that the other branch gave to the latter."""

    decoded: Decoded
    labelled: int
    pseudo: PseudoLabel

    @property
    def logits(self) -> tuple[Tensor, Tensor]:
        """Of the labelled patches and of the unlabelled ones, both ``(B, classes, ...)``."""
        return self.decoded.logits[: self.labelled], self.decoded.logits[self.labelled :]


class CrossPseudo(Method):
    """Two networks; the prediction of each on the weak view labels the strong view of the other.

    Args:
        weight: of the unlabelled loss after the ramp. ramp: share of the training until then.
        confidence: voxels that the teaching network gives less than this are not learnt from.

    Attributes:
        disturbs: the features of the unlabelled views are disturbed between encoder and decoder.
    """

    strong_views = 2
    disturbs: ClassVar[bool] = False

    def __init__(self, networks: Sequence[UNet], weight: float, ramp: float, confidence: float) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.weight, self.ramp, self.confidence = weight, ramp, confidence

    def losses(self, batch: dict[str, Any], progress: float) -> dict[str, Term]:
        """``supervised`` and, where the batch has unlabelled patches, ``cross``; both are means over the networks."""
        if "weak" not in batch:
            each = [dice_ce(network(batch["image"]), batch["label"]) for network in self.networks]
            return {"supervised": Term(torch.stack(each).mean())}
        return self.terms(self.lessons(batch), batch["label"], progress)

    def lessons(self, batch: dict[str, Any]) -> list[Lesson]:
        """Each branch on the batch, taught by the other one; monitors on the way."""
        said = self.answers(batch["weak"])
        pseudo = [PseudoLabel.of(each, self.confidence).mixed(batch["mix"]) for each in self.taught(said)]
        lessons = [
            Lesson(self.study(network, batch["image"], mix_pairs(strong, batch["mix"])), len(batch["image"]), own)  # type: ignore[arg-type]
            for network, strong, own in zip(self.networks, batch["strong"], pseudo, strict=True)
        ]
        self.monitors = watch([each.logits[0].float().softmax(1) for each in lessons], batch["label"], said)
        return lessons

    @torch.no_grad()
    def answers(self, weak: Tensor) -> list[Tensor]:
        """What each branch says of the weak views: probabilities ``(U, classes, ...)``."""
        return [network(weak).float().softmax(1) for network in self.networks]

    def taught(self, said: list[Tensor]) -> list[Tensor]:
        """What each branch is taught of these answers ``(U, classes, ...)``: that of the other one."""
        return said[::-1]

    def study(self, network: UNet, labelled: Tensor, unlabelled: Tensor) -> Decoded:
        """One pass over both, ``(B, C, ...)`` and ``(U, C, ...)``, joined in this order."""
        together = torch.cat([labelled, unlabelled])
        if not self.disturbs:
            return network.decode(together)
        features = network.encoder(together)
        harder = perturb([level[len(labelled) :] for level in features])
        joined = [torch.cat([level[: len(labelled)], own]) for level, own in zip(features, harder, strict=True)]
        return network.decoder(joined, together.shape[2:])

    def terms(self, lessons: Sequence[Lesson], label: Tensor, progress: float) -> dict[str, Term]:
        """``supervised`` and ``cross`` of these lessons; label ``(B, 1, ...)``."""
        supervised = [dice_ce(lesson.logits[0], label) for lesson in lessons]
        cross = [lesson.pseudo.loss(lesson.logits[1]) for lesson in lessons]
        trusted = sum(lesson.pseudo.n_valid for lesson in lessons)
        rising = self.weight * sigmoid_ramp(progress, self.ramp)
        return {
            "supervised": Term(torch.stack(supervised).mean()),
            "cross": Term(torch.stack(cross).mean(), rising, trusted),
        }
