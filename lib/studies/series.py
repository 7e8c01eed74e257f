"""The series of one patient on one grid.

Each series goes through the ordinary pipeline on its own grid, so that a network sees the intensities that it will see
at inference, where a series comes alone. Only then it is laid on the grid of the reference, the case's image.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from nibabel.orientations import inv_ornt_aff

from lib.errors import StudyError
from lib.studies.alignment import on_grid, overlap
from lib.studies.cases import Case
from lib.studies.preprocess import Geometry, Preprocess

OVERLAP = 0.5  # of the smaller series: below this they are not of one body


def read_case(case: Case, preprocess: Preprocess) -> tuple[np.ndarray, Geometry, tuple[bool, ...]]:
    """A case as the networks see it.

    Returns:
        float32 ``(C, X, Y, Z)``, or ``(M, X, Y, Z)`` of the plan's M modalities with zeros for one that is missing; the
        geometry of its image; which modalities are there (of an ordinary study: the only one).

    Raises:
        StudyError: a file cannot be used, or two do not show the same body.
    """
    names = preprocess.plan.modality_names
    if len(names) < 2:
        volume, geometry = preprocess.image(case.usable().image)
        return volume, geometry, (True,)
    reference, geometry = preprocess.image(case.usable().image, _place(case, names))
    stack = np.zeros((len(names), *reference.shape[1:]), dtype=np.float32)
    for place, name in enumerate(names):
        file = case.modalities.get(name)
        if file == case.image:
            stack[place] = reference[0]
        elif file:
            volume, own = preprocess.image(file, place)
            _check_overlap(case, file, own, geometry)
            stack[place] = on_grid(volume[0], network_affine(own), geometry.size, network_affine(geometry))
    return stack, geometry, tuple(name in case.modalities for name in names)


def network_affine(geometry: Geometry) -> np.ndarray:
    """4x4, from the preprocessed voxels to mm in RAS."""
    turned = geometry.affine @ inv_ornt_aff(geometry.turn, geometry.shape)
    old = np.empty(3)
    old[geometry.turn[:, 0].astype(int)] = geometry.shape
    ratio = old / geometry.size
    resampled = np.diag([*ratio, 1.0])
    resampled[:3, 3] = (ratio - 1) / 2  # the outer edges stay, so the centre of the first voxel moves
    return turned @ resampled


def _check_overlap(case: Case, file: Path, own: Geometry, reference: Geometry) -> None:
    common = overlap((own.size, network_affine(own)), (reference.size, network_affine(reference)))
    if common < OVERLAP:
        cause = f"{file.name} and {case.image.name} have {common:.0%} of the smaller one in common"
        cause += ", so they are of another patient or another frame of reference"
        raise StudyError(case.id, cause, "Register them, or take one of them out of the studies")


def _place(case: Case, names: tuple[str, ...]) -> int:
    return next(place for place, name in enumerate(names) if case.modalities.get(name) == case.image)
