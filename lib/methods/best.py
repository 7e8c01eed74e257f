"""Our composition: cross-supervision under disturbed features, taught by the averaged weights of both networks.

From :class:`lib.methods.cross_pseudo.CrossPseudo` the two networks, the mixed strong views and the loss; from Ouali et
al. (CVPR 2020), as in ``multiscale``, the disturbed features; from Tarvainen and Valpola (NeurIPS 2017) the moving
average of each network. The two teachers answer together, so both students learn from one label. It does not deserve
its name yet: see the development cases in ``docs/reference/benchmarks.md``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lib.methods.cross_pseudo import CrossPseudo
from lib.methods.teacher import Teacher
from lib.networks.unet import UNet


class Best(CrossPseudo):
    """Terms ``supervised`` and ``cross``.

    Args:
        decay: of the teachers.
    """

    disturbs = True

    def __init__(self, networks: Sequence[UNet], weight: float, ramp: float, confidence: float, decay: float) -> None:
        super().__init__(networks, weight, ramp, confidence)
        self.teachers = nn.ModuleList(Teacher(network, decay) for network in networks)

    def begin(self) -> None:
        for teacher, network in zip(self.teachers, self.networks, strict=True):
            teacher.copy(network)  # type: ignore[operator]

    def after_step(self, step: int) -> None:
        for teacher, network in zip(self.teachers, self.networks, strict=True):
            teacher.follow(network, step)  # type: ignore[operator]

    def answers(self, weak: Tensor) -> list[Tensor]:
        return [teacher(weak) for teacher in self.teachers]

    def taught(self, said: list[Tensor]) -> list[Tensor]:
        return [torch.stack(said).mean(0)] * len(said)
