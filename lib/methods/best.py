"""The strongest composition: two networks teach each other over labelled and unlabelled patches mixed both ways."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lib.methods.base import Term, sigmoid_ramp
from lib.methods.cross_pseudo import CrossPseudo
from lib.methods.monitors import watch
from lib.methods.pasting import Pasted
from lib.methods.pseudo import PseudoLabel


class Best(CrossPseudo):
    """Terms ``supervised`` and ``cross``, on patches that exchanged boxes with labelled ones."""

    def losses(self, batch: dict[str, Any], progress: float) -> dict[str, Term]:
        if "weak" not in batch:
            return super().losses(batch, progress)
        with torch.no_grad():
            said = [network(batch["weak"]).float().softmax(1) for network in self.networks]
        self.monitors = watch([], batch["label"], said)
        supervised: list[Tensor] = []
        cross: list[Tensor] = []
        trusted = 0
        for network, strong, taught in zip(self.networks, batch["strong"], reversed(said), strict=True):
            pseudo = PseudoLabel.of(taught, self.confidence)
            pasted = Pasted.of(batch["image"], batch["label"], strong, pseudo, batch["mix"])
            for losses, loss in zip((supervised, cross), pasted.losses(network(pasted.image)), strict=True):
                losses.append(loss)
            trusted += int(pasted.trusted.sum())
        rising = self.weight * sigmoid_ramp(progress, self.ramp)
        return {
            "supervised": Term(torch.stack(supervised).mean()),
            "cross": Term(torch.stack(cross).mean(), rising, trusted),
        }
