"""Learning from the labelled studies alone: what every other method is measured against."""

from __future__ import annotations

from typing import Any

from torch import nn

from lib.losses.dice_ce import dice_ce
from lib.methods.base import Method, Term


class Supervised(Method):
    """One network, cross-entropy and Dice."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.networks = nn.ModuleList([network])

    def losses(self, batch: dict[str, Any], progress: float) -> dict[str, Term]:
        """One term, ``supervised``."""
        return {"supervised": Term(dice_ce(self.networks[0](batch["image"]), batch["label"]))}
