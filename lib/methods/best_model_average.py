"""The teacher of Semi-CML: an average of the best models of the stronger modality.

Source: the training code of Zhang et al., MedIA 83 (2023), 102656. An epoch's Dice enters a pool; once it is full, the
teacher is born as a copy of the network; from then on an epoch that beats the worst of the pool takes its place, and
moves the teacher by its relative gain. In the source the second modality is assumed to be the stronger one and judged
on a validation set; here each modality is measured, on what its caller has.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lib.methods.base import most_probable
from lib.methods.teacher import Teacher

POOL = 6  # epochs that are judged before the teacher is born
STAYS = 0.99  # largest share of the old teacher


class BestModelAverage(nn.Module):
    """Collects Dice by epoch and keeps the teacher. All its state is in the checkpoint.

    Args:
        networks: one a modality, of one shape.
    """

    overlap: Tensor
    pool: Tensor
    epochs: Tensor
    stronger: Tensor

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.teacher = Teacher(networks[0], STAYS)
        self.register_buffer("overlap", torch.zeros(len(networks), 2))  # agreeing and all foreground voxels
        self.register_buffer("pool", torch.zeros(len(networks), POOL))
        self.register_buffer("epochs", torch.zeros((), dtype=torch.int64))  # judged so far
        self.register_buffer("stronger", torch.full((), -1))  # modality of the teacher, once it is born

    @property
    def born(self) -> bool:
        """There is a teacher."""
        return int(self.stronger) >= 0

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
        if int(self.epochs) < POOL:
            self.pool[:, int(self.epochs)] = dice
        self.epochs += 1
        if int(self.epochs) == POOL:
            self.bear(networks)
        elif self.born:
            self._improve(float(dice[int(self.stronger)]), networks[int(self.stronger)])

    @torch.no_grad()
    def bear(self, networks: Sequence[nn.Module]) -> None:
        """The teacher is born as a copy of the network that did best in the pool; the first one wins a tie."""
        self.stronger.fill_(int(self.pool.sum(1).argmax()))
        self.teacher.copy(networks[int(self.stronger)])

    def _improve(self, dice: float, network: nn.Module) -> None:
        pool = self.pool[int(self.stronger)]
        worst = float(pool.min())
        if dice > worst:
            self.teacher.move(network, 1 - min(1 - (dice - worst) / dice, STAYS))
            pool[pool.argmin()] = dice
