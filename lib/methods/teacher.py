"""A teacher that follows its student as an exponential moving average of its weights.

Source: Tarvainen and Valpola, "Mean teachers are better role models", NeurIPS 2017.
"""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn


class Teacher(nn.Module):
    """A copy of a network that no gradient reaches.

    Args:
        decay: the share of the old weights that stays at each step; less at first, so that it leaves the beginning
            behind.
    """

    def __init__(self, student: nn.Module, decay: float) -> None:
        super().__init__()
        self.network = deepcopy(student).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def copy(self, student: nn.Module) -> None:
        """Begin anew from this student."""
        self.network.load_state_dict(student.state_dict())

    def follow(self, student: nn.Module, step: int) -> None:
        """Move towards the student after this step."""
        self.move(student, 1 - min(self.decay, (step + 1) / (step + 2)))

    @torch.no_grad()
    def move(self, student: nn.Module, share: float) -> None:
        """Take this share of the student's weights."""
        torch._foreach_lerp_(list(self.network.parameters()), list(student.parameters()), share)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Probabilities ``(B, classes, ...)`` float32."""
        return self.network(x).float().softmax(1)
