"""The teacher of Semi-CML: an average of the best models of the stronger modality.

Source: the training code of Zhang et al., MedIA 83 (2023), 102656. From some epoch on its Dice enters a pool; once it
is full, the teacher is born as a copy of the network; from then on an epoch that beats the worst of the pool takes its
place, and moves the teacher by its relative gain. In the source the second modality is assumed to be the stronger one
and judged on a validation set; here each modality is measured from the first epoch on, on what the caller has.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lib.methods.base import most_probable
from lib.methods.teacher import Teacher

POOL = 6  # epochs in the pool when the teacher is born
SETTLED = 4  # epochs after which the first difference between the modalities is believed
STAYS = 0.99  # largest share of the old teacher


class BestModelAverage(nn.Module):
    """Collects Dice by epoch and keeps the teacher. All its state is in the checkpoint.

    Args:
        networks: one a modality, of one shape. start: judged epochs before those of the pool.
    """

    overlap: Tensor
    total: Tensor
    pool: Tensor
    epochs: Tensor
    stronger: Tensor

    def __init__(self, networks: Sequence[nn.Module], start: int = 0) -> None:
        super().__init__()
        self.start = start
        self.teacher = Teacher(networks[0], STAYS)
        self.register_buffer("overlap", torch.zeros(len(networks), 2))  # agreeing and all foreground voxels
        self.register_buffer("total", torch.zeros(len(networks)))  # Dice of all epochs before the birth
        self.register_buffer("pool", torch.zeros(len(networks), POOL))
        self.register_buffer("epochs", torch.zeros((), dtype=torch.int64))  # judged so far
        self.register_buffer("stronger", torch.full((), -1))  # modality of the teacher, once it is born

    @property
    def born(self) -> bool:
        """There is a teacher."""
        return int(self.stronger) >= 0

    @property
    def leading(self) -> int:
        """The modality that has been the best one so far; -1 while it is too early to tell."""
        return int(self.total.argmax()) if int(self.epochs) >= SETTLED else -1

    @torch.no_grad()
    def judge(self, modality: int, logits: Tensor, label: Tensor) -> None:
        """Take in a prediction ``(B, classes, ...)``, label ``(B, 1, ...)``."""
        found = most_probable(logits)
        agreeing = ((found == label) & (label > 0)).sum()
        self.overlap[modality] += torch.stack([2 * agreeing, (found > 0).sum() + (label > 0).sum()])

    @torch.no_grad()
    def close_epoch(self, networks: Sequence[nn.Module]) -> None:
        """The rule, at the end of an epoch; one in which a modality had nothing to be judged on does not count."""
        if not (self.overlap[:, 1] > 0).all():
            return
        dice = self.overlap[:, 0] / self.overlap[:, 1]
        self.overlap.zero_()
        place = int(self.epochs) - self.start
        self.epochs += 1
        if self.born:
            self._improve(float(dice[int(self.stronger)]), networks[int(self.stronger)])
            return
        self.total += dice
        if place >= 0:
            self.pool[:, place] = dice
        if place + 1 == POOL:
            self.bear(networks)

    @torch.no_grad()
    def bear(self, networks: Sequence[nn.Module]) -> None:
        """The teacher is born as a copy of the network that did best so far; the first one wins a tie."""
        self.stronger.fill_(int(self.total.argmax()))
        self.teacher.copy(networks[int(self.stronger)])

    def _improve(self, dice: float, network: nn.Module) -> None:
        pool = self.pool[int(self.stronger)]
        worst = float(pool.min())
        if dice > worst:
            self.teacher.move(network, 1 - min(1 - (dice - worst) / dice, STAYS))
            pool[pool.argmin()] = dice
