"""What tells a healthy training from a collapsing one, measured on its way."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lib.methods.base import most_probable

EMPTY = 1e-6


@torch.no_grad()
def watch(labelled: Sequence[Tensor], label: Tensor, unlabelled: Sequence[Tensor]) -> dict[str, Tensor]:
    """Monitors of a step.

    - ``pseudo_foreground``: share of the unlabelled voxels that the branches call foreground;
    - ``agreement``: Dice between the branches on unlabelled voxels (of the first two; 1: they are one network);
    - ``ensemble_gain``: on labelled patches, Dice of the branches' mean less the mean of their Dice; 0: nothing is
      gained by having two.

    Args:
        labelled: probabilities ``(B, classes, ...)`` of each branch on the labelled patches. label: ``(B, 1, ...)``.
        unlabelled: the same on the weak views.
    """
    found: dict[str, Tensor] = {}
    calls = [most_probable(each) for each in unlabelled if len(each)]
    if calls:
        found["pseudo_foreground"] = torch.stack([(call > 0).float().mean() for call in calls]).mean()
    if len(calls) > 1:
        found["agreement"] = foreground_dice(calls[0], calls[1])
    if len(labelled) > 1:
        together = foreground_dice(most_probable(torch.stack(list(labelled)).mean(0)), label)
        alone = [foreground_dice(most_probable(each), label) for each in labelled]
        found["ensemble_gain"] = together - torch.stack(alone).mean()
    return found


def foreground_dice(first: Tensor, second: Tensor) -> Tensor:
    """Dice of the foregrounds of two class maps of one shape, classes agreeing: a scalar, 1 where both are empty."""
    agreeing = ((first == second) & (first > 0)).sum()
    return (2 * agreeing + EMPTY) / ((first > 0).sum() + (second > 0).sum() + EMPTY)
