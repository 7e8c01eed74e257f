"""The contract of a method: its branches, its losses, its predictions, and nothing else.

A method does no I/O, owns no optimiser and calls no device: the loop does. Time reaches it as ``progress`` in [0, 1],
so that a resumed training equals an uninterrupted one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Term:
    """One term of the loss: its value, its weight now, and how many items it was taken over (0: skipped)."""

    value: Tensor
    weight: float = 1.0
    n_valid: int = 1


class Method(nn.Module, ABC):
    """A way to learn from labelled and unlabelled patches.

    Attributes:
        strong_views: strong views of each unlabelled patch it wants; 0: it does not use unlabelled studies.
        networks: what predicts, one entry a branch; of a method, only they are published.
        monitors: what the last :meth:`losses` saw, by name, for the curves; they take no part in the loss.
    """

    strong_views: ClassVar[int] = 0
    networks: nn.ModuleList

    def __init__(self) -> None:
        super().__init__()
        self.monitors: dict[str, Tensor] = {}

    @abstractmethod
    def losses(self, batch: dict[str, Any], progress: float) -> dict[str, Term]:
        """The terms on a batch of :class:`lib.studies.patches.Patches` at this share of the training."""

    def forward(self, batch: dict[str, Any], progress: float) -> dict[str, Term]:
        """:meth:`losses` under the name that ``DistributedDataParallel`` calls."""
        return self.losses(batch, progress)

    def predict(self, x: Tensor, modality: int = 0) -> Tensor:
        """Probabilities ``(branches, B, classes, ...)`` float32 of patches ``(B, C, ...)``.

        Args:
            modality: which of the method's modalities the patches show; most methods know one.
        """
        return torch.stack([network(x).float().softmax(1) for network in self.networks])

    def begin(self) -> None:
        """Called before the first step, on the weights that the training starts from; teachers are made here."""

    def after_step(self, step: int) -> None:
        """Called after each optimiser step; teachers are updated here."""

    def weights(self) -> dict[str, Tensor]:
        """What is published: the networks, each weight in its shape, without teachers, projection heads and queues."""
        return {key: value for key, value in self.state_dict().items() if key.startswith("networks.")}


def most_probable(probabilities: Tensor, axis: int = 1) -> Tensor:
    """``(B, classes, ...)`` to class indices ``(B, 1, ...)``; the first one wins a tie.

    By ``max``: along an axis that is not the last, ``argmax`` takes ten to twenty times as long on a CPU, which was
    a third of a ``cross_pseudo`` step.
    """
    return probabilities.max(axis, keepdim=True).indices


def total(terms: dict[str, Term]) -> Tensor:
    """The weighted sum that is minimised, a scalar."""
    return torch.stack([term.value * term.weight for term in terms.values()]).sum()


def sigmoid_ramp(progress: float, length: float) -> float:
    """exp(-5 (1 - progress / length)^2) up to ``length``, then 1; starts at exp(-5) = 0.0067.

    Source: Laine and Aila, "Temporal ensembling for semi-supervised learning", ICLR 2017.
    """
    done = 1.0 if progress >= length else max(progress, 0.0) / length
    return float(torch.tensor(-5.0 * (1.0 - done) ** 2, dtype=torch.float64).exp())
