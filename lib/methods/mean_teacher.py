"""Mean teacher: a student agrees with the moving average of itself.

Source: Tarvainen and Valpola, NeurIPS 2017; squared difference of the probabilities as in its use for volumes (Yu et
al., UA-MT, MICCAI 2019). The teacher sees the weak view, the student a strong one. The mean is taken over voxels and
the sum over classes.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lib.losses.dice_ce import dice_ce
from lib.methods.base import Method, Term, sigmoid_ramp
from lib.methods.monitors import watch
from lib.methods.teacher import Teacher
from lib.networks.unet import UNet


class Taught(Method):
    """A student and its averaged teacher; what they have in common, whatever is learnt from whom.

    Args:
        weight: of the unlabelled loss after the ramp. ramp: share of the training until then. decay: of the teacher.
    """

    strong_views: ClassVar[int] = 1

    def __init__(self, network: UNet, weight: float, ramp: float, decay: float) -> None:
        super().__init__()
        self.networks = nn.ModuleList([network])
        self.teacher = Teacher(network, decay)
        self.weight, self.ramp = weight, ramp

    @property
    def student(self) -> UNet:
        """The network that learns and is published."""
        return self.networks[0]  # type: ignore[return-value]

    def begin(self) -> None:
        self.teacher.copy(self.student)

    def after_step(self, step: int) -> None:
        self.teacher.follow(self.student, step)

    def rising(self, progress: float) -> float:
        """Weight of the unlabelled loss now."""
        return self.weight * sigmoid_ramp(progress, self.ramp)


class MeanTeacher(Taught):
    """Terms ``supervised`` and, with unlabelled patches, ``consistency``."""

    def losses(self, batch: dict[str, Any], progress: float) -> dict[str, Term]:
        """The student on the strong view is drawn to what the teacher says of the weak one."""
        image, label = batch["image"], batch["label"]
        if "weak" not in batch:
            return {"supervised": Term(dice_ce(self.student(image), label))}
        target = self.teacher(batch["weak"])
        logits = self.student(torch.cat([image, batch["strong"][0]]))
        labelled, unlabelled = logits.float().split([len(image), len(target)])
        found = unlabelled.softmax(1)
        self.monitors = watch([labelled.softmax(1)], label, [target, found])
        return {
            "supervised": Term(dice_ce(labelled, label)),
            "consistency": Term(squared_difference(found, target), self.rising(progress)),
        }


def squared_difference(first: Tensor, second: Tensor) -> Tensor:
    """Sum over classes and mean over voxels of the squared difference of probabilities ``(B, classes, ...)``."""
    return (first - second).square().sum(1).mean()
