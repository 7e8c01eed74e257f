"""The nearest RAS orientation of a volume and the way back: flips and permutations only, so exactly invertible."""

from __future__ import annotations

import nibabel.orientations as orientations
import numpy as np

from lib.studies.reading import voxel_spacing

RAS = np.array([[0, 1], [1, 1], [2, 1]])


def to_ras(array: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``(X, Y, Z)`` or ``(X, Y, Z, C)`` of any orientation, oblique included, with its axes nearest to R, A, S.

    Returns:
        The turned array (a view), its voxel spacing in mm, and the turn, which :func:`from_ras` takes back.
    """
    turn = orientations.io_orientation(affine)
    spacing = np.empty(3)
    spacing[turn[:, 0].astype(int)] = voxel_spacing(affine)
    return orientations.apply_orientation(array, turn), spacing, turn


def from_ras(array: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """A volume ``(X, Y, Z)`` in RAS back in the file's own axes."""
    return orientations.apply_orientation(array, orientations.ornt_transform(RAS, turn))
