"""Generated patients with several series, for tests: one anatomy in several contrasts, each on its own grid."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from lib.studies.alignment import on_grid
from lib.studies.phantoms import LABELS, phantom

# voxel size against that of the first series along X, Y, Z; negative: the axis runs the other way
GRIDS = {"ct": (1.0, 1.0, 1.0), "pet": (1.5, 1.5, 1.25), "mr": (-1.2, 0.8, 1.0)}
LESION = LABELS["lesion"]

Array = NDArray[np.float32]


def _ct(image: Array, label: NDArray, rng: np.random.Generator) -> Array:
    """HU: air around a body in which what MR shows bright is dark."""
    return np.where(image < 150, -1000, 120 - 0.06 * image) + 8 * rng.standard_normal(image.shape)


def _pet(image: Array, label: NDArray, rng: np.random.Generator) -> Array:
    """SUV: a blurred hot lesion in a faint body."""
    return gaussian_filter(np.where(label == LESION, 9.0, 0.5) * (image > 150), 1.0) + 0.05 * rng.random(image.shape)


def _mr(image: Array, label: NDArray, rng: np.random.Generator) -> Array:
    return image


CONTRASTS: dict[str, Callable[[Array, NDArray, np.random.Generator], Array]] = {"ct": _ct, "pet": _pet, "mr": _mr}


def write_patients(
    folder: Path,
    count: int,
    labelled: int,
    modalities: Sequence[str] = ("ct", "mr"),
    missing: Mapping[int, Collection[str]] | None = None,
    seed: int = 0,
    shape: tuple[int, int, int] = (24, 24, 12),
    spacing: tuple[float, float, float] = (3.0, 3.0, 5.0),
    one_grid: bool = False,
) -> list[str]:
    """Write a studies folder of patients: series ``patient_000_ct``, ..., and the labels, each on the first series.

    Args:
        labelled: so many patients, the first ones, get their label.
        modalities: of ``ct``, ``pet`` and ``mr``. missing: number of a patient -> the modalities he lacks.
        shape, spacing: of the grid of ``ct``. one_grid: all series have that one.

    Returns:
        The ids of the patients, in order.
    """
    finals = Path(folder) / "labels" / "final"
    finals.mkdir(parents=True, exist_ok=True)
    ids = [f"patient_{number:03d}" for number in range(count)]
    for number, patient in enumerate(ids):
        rng = np.random.default_rng((seed, number, 2))
        image, label = phantom((seed, number), shape, spacing)
        affine = np.diag([*spacing, 1.0])
        affine[:3, 3] = rng.uniform(-40, 40, 3)
        present = [name for name in modalities if name not in (missing or {}).get(number, ())]
        for name in present:
            own_shape, own = _grid(shape, affine, (1, 1, 1) if one_grid else GRIDS[name])
            series = on_grid(CONTRASTS[name](image, label, rng).astype(np.float32), affine, own_shape, own)
            _save(Path(folder) / f"{patient}_{name}.nii.gz", series, own)
            if number < labelled and name == present[0]:
                _save(finals / f"{patient}_{name}.nii.gz", on_grid(label, affine, own_shape, own, order=0), own)
    (Path(folder) / "dataset.json").write_text(json.dumps({"name": "patients", "labels": LABELS}, indent=1) + "\n")
    return ids


def _grid(shape: Sequence[int], affine: NDArray, factors: Sequence[float]) -> tuple[tuple[int, ...], NDArray]:
    """A grid over about the same extent with other voxels."""
    ratio = np.array(factors)
    own = tuple(int(n) for n in np.maximum(np.round(np.array(shape) / np.abs(ratio)), 1))
    change = np.diag([*ratio, 1.0])
    change[:3, 3] = np.where(ratio < 0, np.array(shape) - 0.5, -0.5) + ratio / 2  # from one outer edge on
    return own, affine @ change


def _save(path: Path, array: NDArray, affine: NDArray) -> None:
    nib.save(nib.Nifti1Image(array, affine), path)
