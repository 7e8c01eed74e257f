"""How well a label agrees with a reference: Dice and HD95 for each class, on the image's own grid.

A class that both or one of the two lack follows a rule stated here, because conventions differ and move the mean:
absent in both is agreement (Dice 1, HD95 0 mm); absent in one only is a miss (Dice 0, HD95 nan). A miss has no
distance, so it is counted beside the mean and never enters it as 0 or as the image's diagonal.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from monai.metrics import compute_hausdorff_distance


def dice(prediction: np.ndarray, reference: np.ndarray, classes: Iterable[int]) -> dict[int, float]:
    """Dice similarity coefficient ``2 |P and R| / (|P| + |R|)`` of each class (Dice 1945).

    Args:
        prediction, reference: integer labels of the same shape, (X, Y, Z).
        classes: the values to compare; background is not one of them.

    Returns:
        value -> Dice in [0, 1]; 1 where both lack the class, 0 where one does.
    """
    _same_shape(prediction, reference)
    return {value: _dice(prediction == value, reference == value) for value in classes}


def hd95(
    prediction: np.ndarray, reference: np.ndarray, classes: Iterable[int], spacing: Sequence[float]
) -> dict[int, float]:
    """95th percentile of the Hausdorff distance of each class: the larger of both directions, surface to surface.

    The surface is the voxels of a class with a neighbour (by face) outside of it; distances are between voxel centres.

    Args:
        prediction, reference: integer labels of the same shape, (X, Y, Z).
        classes: the values to compare; background is not one of them.
        spacing: of the voxels along X, Y, Z in mm.

    Returns:
        value -> HD95 in mm (of a picture in pixels, which count as 1 mm); 0 where both lack the class, nan where one
        does.
    """
    _same_shape(prediction, reference)
    return {value: _hd95(prediction == value, reference == value, spacing) for value in classes}


def mean_and_missed(values: Iterable[float]) -> tuple[float, int]:
    """Mean of the values that are not nan, and how many are nan; the mean of none is nan."""
    numbers = list(values)
    known = [value for value in numbers if not math.isnan(value)]
    return (math.fsum(known) / len(known) if known else math.nan), len(numbers) - len(known)


def _dice(prediction: np.ndarray, reference: np.ndarray) -> float:
    size = np.count_nonzero(prediction) + np.count_nonzero(reference)
    return 2 * np.count_nonzero(prediction & reference) / size if size else 1.0


def _hd95(prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float]) -> float:
    present = prediction.any(), reference.any()
    if not all(present):
        return math.nan if any(present) else 0.0
    if 1 in prediction.shape:  # the surface of a single slice is its outline: in three dimensions, all of it would be
        flat = prediction.shape.index(1)
        return _surface_distance(prediction.squeeze(flat), reference.squeeze(flat), np.delete(spacing, flat))
    return _surface_distance(prediction, reference, spacing)


def _surface_distance(prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float] | np.ndarray) -> float:
    distance = compute_hausdorff_distance(  # wants (batch, classes, *space)
        prediction[None, None], reference[None, None], include_background=True, percentile=95,
        spacing=[float(edge) for edge in spacing],
    )  # fmt: skip
    return float(distance)


def _same_shape(prediction: np.ndarray, reference: np.ndarray) -> None:
    if prediction.shape != reference.shape:  # numpy would broadcast some of these in silence
        raise ValueError(f"Labels of shapes {prediction.shape} and {reference.shape} cannot be compared")
