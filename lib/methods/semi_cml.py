"""Contrastive mutual learning of modalities, then pseudo-label re-learning: one network a modality, any one predicts.

After the training code of Zhang et al., "Multi-modal contrastive mutual learning and pseudo-label re-learning for
semi-supervised medical image segmentation", MedIA 83 (2023), 102656. As there: area-similarity contrast and squared
difference between the modalities on unlabelled patches; a teacher by best-model average of the stronger modality; in
the second stage its soft pseudo-labels, the mean of noisy passes, teach every modality. Ours: 3D, several classes, more
than two modalities, patients that lack one; the stronger modality is measured on the labelled patches themselves, each
before it is learnt from, because patients kept out for it cost more than they tell; the modality that leads is not
drawn towards the others; labels teach in the second stage too; noise in both directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lib.losses.area_similarity import area_similarity
from lib.losses.dice_ce import dice_ce
from lib.losses.soft_labels import soft_dice_ce
from lib.methods.base import Method, Term, sigmoid_ramp
from lib.methods.best_model_average import BestModelAverage
from lib.methods.mean_teacher import squared_difference
from lib.methods.monitors import watch
from lib.networks.unet import UNet

EPOCHS = 81  # of a training, as the source counts them; the teacher's rule goes by them
SECOND_STAGE = 51 / 81  # share of the training at which re-learning begins
LATE = 40  # judged epochs before the pool of the teacher's rule; 11 in the source, whose learning rate falls earlier
AREA = 0.4  # weight of the area similarity against cross-entropy plus Dice (3.5 against 10 and 7)
SQUARES = 0.05  # of the squared difference; the source's ramp is far longer than its first stage and ends at 0.06
RELEARNT_AREA = 0.1  # share of the area similarity in the second stage
PASSES, NOISE, LARGEST = 4, 0.1, 0.2  # of the teacher; sd and bound of its input noise
SMALLEST = 8.0  # voxels of foreground below which two masks are not compared


class SemiCML(Method):
    """Terms ``supervised``; ``area_similarity`` and ``consistency`` in the first stage, ``relearning`` in the second.

    Args:
        networks: one a modality, each of one channel. weight: of the unlabelled terms. ramp: share of the training over
            which the consistency rises.
    """

    strong_views: ClassVar[int] = 1
    epoch: Tensor

    def __init__(self, networks: Sequence[UNet], weight: float, ramp: float) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.average = BestModelAverage(networks, LATE)
        self.weight, self.ramp = weight, ramp
        self.register_buffer("epoch", torch.zeros((), dtype=torch.int64))

    def predict(self, x: Tensor, modality: int = 0) -> Tensor:
        """``(B, 1, ...)`` of one modality to ``(1, B, classes, ...)`` by its own network."""
        return self.networks[modality](x).float().softmax(1)[None]

    def losses(self, batch: dict[str, Any], progress: float) -> dict[str, Term]:
        """First the modalities teach each other, then the stronger one's teacher all of them."""
        first_stage = progress < SECOND_STAGE
        self._turn_epoch(progress, first_stage)
        label = batch["label"]
        count, unlabelled = len(label), "weak" in batch
        strong = batch["strong"][0] if unlabelled else batch["image"][:0]
        logits = [
            network(torch.cat([batch["image"][:, [place]], strong[:, [place]]]))
            for place, network in enumerate(self.networks)
        ]
        labelled, others = [each[:count] for each in logits], [each[count:] for each in logits]
        terms = {"supervised": self._supervised(labelled, label, batch["present"])}
        if first_stage:
            self._judge(labelled, label, batch["present"])
        if unlabelled:
            there = batch["unlabelled_present"]
            found = [each.float().softmax(1) for each in others]
            terms |= self._mutual(found, there, progress) if first_stage else self._relearning(others, batch)
            self.monitors = self._watch(labelled, label, batch["present"], found, there)
        return terms

    def _supervised(self, logits: Sequence[Tensor], label: Tensor, present: Tensor) -> Term:
        """Mean over the modalities."""
        losses, rows = [0 * each.sum() for each in logits], 0
        for place, each in enumerate(logits):
            there = present[:, place]
            if there.any():
                losses[place] = dice_ce(each[there], label[there])
                rows += int(there.sum())
        return Term(torch.stack(losses).mean(), 1.0, rows)

    def _judge(self, logits: Sequence[Tensor], label: Tensor, present: Tensor) -> None:
        """Each network on the patches that it is about to learn from, drawn anew at each step."""
        for place, each in enumerate(logits):
            there = present[:, place]
            if there.any():
                self.average.judge(place, each[there], label[there])

    def _mutual(self, found: Sequence[Tensor], present: Tensor, progress: float) -> dict[str, Term]:
        """First stage: each two modalities of a patient agree, by area and voxel by voxel; the leading one stays."""
        area, squares, masks, rows = [], [], 0, 0
        for first, second in combinations(range(len(found)), 2):
            both = present[:, first] & present[:, second]
            one, other = (
                found[place][both].detach() if place == self.average.leading else found[place][both]
                for place in (first, second)
            )
            loss, valid = area_similarity(one[:, 1:], other[:, 1:], SMALLEST)
            area.append(loss)
            squares.append(squared_difference(one, other) if both.any() else 0 * found[first].sum())
            masks, rows = masks + valid, rows + int(both.sum())
        rising = self.weight * sigmoid_ramp(progress, self.ramp)
        return {
            "area_similarity": Term(torch.stack(area).mean(), AREA * rising, masks),
            "consistency": Term(torch.stack(squares).mean(), SQUARES * rising, rows),
        }

    def _relearning(self, logits: Sequence[Tensor], batch: dict[str, Any]) -> dict[str, Term]:
        """Second stage: the teacher's soft labels teach every modality, where its own was taken."""
        place = int(self.average.stronger)
        present = batch["unlabelled_present"]
        target = self._soft_labels(batch["weak"][:, [place]])
        losses, rows = [0 * each.sum() for each in logits], 0
        for other, each in enumerate(logits):
            both = present[:, place] & present[:, other]
            if not both.any():
                continue
            area, _ = area_similarity(each[both].float().softmax(1)[:, 1:], target[both][:, 1:], SMALLEST)
            losses[other] = RELEARNT_AREA * area + (1 - RELEARNT_AREA) * soft_dice_ce(each[both], target[both])
            rows += int(both.sum())
        return {"relearning": Term(torch.stack(losses).mean(), self.weight, rows)}

    @torch.no_grad()
    def _soft_labels(self, weak: Tensor) -> Tensor:
        """Mean of the teacher's passes over the weak view with noise (sd and bound in sd of the image)."""
        passes = []
        for _ in range(PASSES):
            noise = (NOISE * torch.randn_like(weak)).clamp(-LARGEST, LARGEST)
            passes.append(self.average.teacher(weak + noise))
        return torch.stack(passes).mean(0)

    def _turn_epoch(self, progress: float, first_stage: bool) -> None:
        """The teacher's rule goes by epochs of the first stage; at the latest at its end there is a teacher."""
        now = int(progress * EPOCHS)
        networks = list(self.networks)
        if first_stage and now > int(self.epoch):
            self.average.close_epoch(networks)
        if not first_stage and not self.average.born:
            self.average.bear(networks)
        self.epoch.fill_(now)

    def _watch(
        self, labelled: Sequence[Tensor], label: Tensor, present: Tensor, found: Sequence[Tensor], there: Tensor
    ) -> dict[str, Tensor]:
        """Over patients with every modality, so that branches are compared on the same ones."""
        rows, others = present.all(1), there.all(1)
        whole = watch(
            [each[rows].float().softmax(1) for each in labelled] if rows.any() else [],
            label[rows],
            [each[others] for each in found] if others.any() else [],
        )
        return whole | {"stronger_modality": self.average.stronger.float()}
