"""How unsure the members of a committee are of a voxel: pure functions from probabilities to one map in [0, 1].

Members are the branches of a model, and the mirrored views of each where there are any. Probabilities are
``(members, classes, *space)``, background among the classes, and sum to 1 over the classes. The maps are float32
whatever the precision of the network was. The sums go class by class, so that beside the probabilities only a few maps
of the size of one class exist at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations

import torch
from torch import Tensor


def voxel_uncertainty(probabilities: Tensor, measure: str | None = None) -> Tensor:
    """The map of one of the :data:`MEASURES`; the one place that says which, where nobody asked for another.

    Disagreement where there are several members, entropy where there is only one. Disagreement comes first because it
    is what a label can remove: branches that were trained differently differ where the data did not decide, while the
    entropy of their mean is also high on borders no annotator could settle (epistemic and aleatoric uncertainty;
    Hüllermeier and Waegeman, Machine Learning 110, 2021). Mutual information says the same in bits, but two certain
    members of different opinions reach only a part of its range, and near agreement it is flat where disagreement
    still grows.

    Args:
        probabilities: ``(members, classes, *space)``.

    Returns:
        float32 ``(*space)`` in [0, 1].
    """
    return MEASURES[measure or ("disagreement" if len(probabilities) > 1 else "entropy")](probabilities)


def disagreement(probabilities: Tensor) -> Tensor:
    """Mean total variation distance over the pairs of members.

    ``TV(p, q) = 1/2 sum_c |p_c - q_c|`` (Levin, Peres and Wilmer, Markov Chains and Mixing Times, section 4.1): 0
    where all members say the same; of two members 1 where they are certain of different classes, and equal to the
    share of voxels with unequal labels (query by committee) once the probabilities are hard.

    Args:
        probabilities: ``(members, classes, *space)`` of two or more members.

    Returns:
        float32 ``(*space)`` in [0, 1].
    """
    pairs = list(combinations(range(_members(probabilities, least=2)), 2))
    total = torch.zeros_like(probabilities[0, 0], dtype=torch.float32)
    difference = torch.empty_like(total)
    for first, second in pairs:
        for one, other in zip(probabilities[first], probabilities[second], strict=True):
            total += difference.copy_(one).sub_(other).abs_()
    return total.div_(2 * len(pairs)).clamp_(0, 1)


def entropy(probabilities: Tensor) -> Tensor:
    """Shannon entropy of the mean over the members, divided by ``ln(classes)`` so that 1 is "anything is possible".

    Args:
        probabilities: ``(members, classes, *space)`` of one or more members.

    Returns:
        float32 ``(*space)`` in [0, 1].
    """
    _members(probabilities, least=1)
    total = torch.zeros_like(probabilities[0, 0], dtype=torch.float32)
    for index in range(probabilities.shape[1]):
        total += _entropy_of_mean(probabilities[:, index])
    return total.div_(math.log(probabilities.shape[1])).clamp_(0, 1)


def mutual_information(probabilities: Tensor) -> Tensor:
    """Entropy of the mean less the mean entropy: what the members know differently, not what all of them doubt.

    The acquisition function of BALD (Houlsby et al., arXiv:1112.5745, 2011; Gal, Islam and Ghahramani, ICML 2017),
    with the members in place of draws from a posterior. In the unit of :func:`entropy`, of which it is a part: of M
    members it reaches ``ln(min(M, classes)) / ln(classes)``.

    Args:
        probabilities: ``(members, classes, *space)`` of two or more members.

    Returns:
        float32 ``(*space)`` in [0, 1].
    """
    count = _members(probabilities, least=2)
    total = torch.zeros_like(probabilities[0, 0], dtype=torch.float32)
    for index in range(probabilities.shape[1]):
        total += _entropy_of_mean(probabilities[:, index])
        for member in probabilities[:, index]:
            total -= torch.special.entr(member.float().clamp(0, 1)).div_(count)
    return total.div_(math.log(probabilities.shape[1])).clamp_(0, 1)


MEASURES: dict[str, Callable[[Tensor], Tensor]] = {
    "disagreement": disagreement,
    "entropy": entropy,
    "mutual_information": mutual_information,
}


def _entropy_of_mean(one_class: Tensor) -> Tensor:
    """The class's part of the entropy of the mean: ``(members, *space)`` to ``(*space)``, in nats."""
    return torch.special.entr(one_class.mean(dim=0, dtype=torch.float32).clamp_(0, 1))


def _members(probabilities: Tensor, least: int) -> int:
    if probabilities.ndim < 3 or probabilities.shape[0] < least or probabilities.shape[1] < 2:
        raise ValueError(
            f"Probabilities of shape {tuple(probabilities.shape)} are not (branches >= {least}, classes >= 2, *space)"
        )
    return probabilities.shape[0]
