"""How unsure the branches are of a voxel: pure functions from probabilities to one map in [0, 1].

Probabilities are ``(branches, classes, *space)``, background among the classes, and sum to 1 over the classes. The
maps are float32 whatever the precision of the network was. The sums go class by class, so that beside the
probabilities only two maps of the size of one class exist at a time.
"""

from __future__ import annotations

import math
from itertools import combinations

import torch
from torch import Tensor


def voxel_uncertainty(probabilities: Tensor) -> Tensor:
    """Disagreement where there are several branches, entropy where there is only one.

    Disagreement comes first because it is what a label can remove: branches that were trained differently differ
    where the data did not decide, while the entropy of their mean is also high on borders no annotator could settle
    (epistemic and aleatoric uncertainty; Hüllermeier and Waegeman, Machine Learning 110, 2021).

    Args:
        probabilities: ``(branches, classes, *space)``.

    Returns:
        float32 ``(*space)`` in [0, 1].
    """
    return disagreement(probabilities) if len(probabilities) > 1 else entropy(probabilities)


def disagreement(probabilities: Tensor) -> Tensor:
    """Mean total variation distance over the pairs of branches.

    ``TV(p, q) = 1/2 sum_c |p_c - q_c|`` (Levin, Peres and Wilmer, Markov Chains and Mixing Times, section 4.1): 0
    where all branches say the same; with two branches 1 where they are certain of different classes, and equal to the
    share of voxels with unequal labels (query by committee) once the probabilities are hard.

    Args:
        probabilities: ``(branches, classes, *space)`` of two or more branches.

    Returns:
        float32 ``(*space)`` in [0, 1].
    """
    pairs = list(combinations(range(_branches(probabilities, least=2)), 2))
    total = torch.zeros_like(probabilities[0, 0], dtype=torch.float32)
    difference = torch.empty_like(total)
    for first, second in pairs:
        for one, other in zip(probabilities[first], probabilities[second], strict=True):
            total += difference.copy_(one).sub_(other).abs_()
    return total.div_(2 * len(pairs)).clamp_(0, 1)


def entropy(probabilities: Tensor) -> Tensor:
    """Shannon entropy of the mean over the branches, divided by ``ln(classes)`` so that 1 is "anything is possible".

    Args:
        probabilities: ``(branches, classes, *space)`` of one or more branches.

    Returns:
        float32 ``(*space)`` in [0, 1].
    """
    _branches(probabilities, least=1)
    classes = probabilities.shape[1]
    total = torch.zeros_like(probabilities[0, 0], dtype=torch.float32)
    for index in range(classes):
        mean = probabilities[:, index].mean(dim=0, dtype=torch.float32)
        total += torch.special.entr(mean.clamp_(0, 1))
    return total.div_(math.log(classes)).clamp_(0, 1)


def _branches(probabilities: Tensor, least: int) -> int:
    if probabilities.ndim < 3 or probabilities.shape[0] < least or probabilities.shape[1] < 2:
        raise ValueError(
            f"Probabilities of shape {tuple(probabilities.shape)} are not (branches >= {least}, classes >= 2, *space)"
        )
    return probabilities.shape[0]
