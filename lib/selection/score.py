"""From the uncertainty of voxels to one score of a study: how much its label would teach.

A mean over the whole volume measures mostly how small the target is, because nearly every voxel is certain
background. So only the predicted foreground and its border count, and every class counts alike, however large.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from torch import Tensor

from lib.inference.uncertainty import voxel_uncertainty
from lib.methods.base import most_probable

BORDER = 2  # voxels around a structure: where two networks that agree on the organ still differ
TOP_SHARE = 0.01  # of the voxels, where nothing is predicted


@dataclass(frozen=True)
class CaseScore:
    """Score of a study in [0, 1]; NaN if the uncertainty was not a number.

    ``region`` says where it was taken: ``foreground`` (``classes`` then holds the score of each predicted class) or
    ``top`` (nothing was predicted). ``foreground`` is how many voxels any branch predicts.
    """

    score: float
    region: str
    classes: dict[int, float]
    foreground: int = 0


def score_case(probabilities: Tensor, measure: str | None = None) -> CaseScore:
    """Score of a study from the probabilities ``(members, classes, X, Y, Z)`` of its branches, or of their views.

    Args:
        measure: one of :data:`lib.inference.uncertainty.MEASURES`; None: see :func:`voxel_uncertainty`.
    """
    labels = [most_probable(member, 0)[0].byte().cpu().numpy() for member in probabilities]
    return reduce_case(voxel_uncertainty(probabilities, measure).cpu().numpy(), np.stack(labels))


def reduce_case(uncertainty: np.ndarray, labels: np.ndarray, border: int = BORDER) -> CaseScore:
    """Reduce a map of voxels to a score.

    A class is where *any* branch predicts it, and ``border`` voxels (in every direction, diagonals too) around: a
    structure that only one branch sees is what the other needs to learn, and would vanish in the mean of the branches.
    The score is the mean over the predicted classes of the mean uncertainty in their regions.

    Where no branch predicts anything, the score is the mean over the top 1 % of the voxels: the places where the
    model came nearest to finding something. Otherwise the studies the model fails on entirely would come last.

    Args:
        uncertainty: ``(*space)`` in [0, 1].
        labels: ``(branches, *space)`` of class indices, 0 is background.
        border: voxels.
    """
    found: dict[int, float] = {}
    foreground = int((labels > 0).any(axis=0).sum())
    for index in range(1, int(labels.max()) + 1):
        mask = (labels == index).any(axis=0)
        if not mask.any():
            continue
        box = _bounding_box(mask, margin=border)
        region = ndimage.maximum_filter(mask[box], size=2 * border + 1, mode="constant")
        found[index] = float(uncertainty[box][region].mean(dtype=np.float64))
    if found:
        return CaseScore(sum(found.values()) / len(found), "foreground", found, foreground)
    return CaseScore(_top_mean(uncertainty), "top", {})


def _bounding_box(mask: np.ndarray, margin: int) -> tuple[slice, ...]:
    (box,) = ndimage.find_objects(mask.astype(np.uint8))
    return tuple(slice(max(side.start - margin, 0), side.stop + margin) for side in box)


def _top_mean(uncertainty: np.ndarray) -> float:
    count = math.ceil(TOP_SHARE * uncertainty.size)
    return float(np.partition(uncertainty, -count, axis=None)[-count:].mean(dtype=np.float64))
