"""Generated MR-like studies with labels, for the demo and the tests: seeded, offline, milliseconds each.

An abdomen-like body holds one *organ* (class 1) with an appendage that leaves it like a vessel, and a *lesion* inside
it (class 2). Around it lie distractors of the very same intensities: loops and vessels as bright as the organ, cysts
as bright as the lesion. No threshold tells them apart: only the shape, and what lies in and beside a structure, does.
Contrast, sharpness, bias field and noise change from study to study, as they do between scanners and protocols.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

LABELS = {"organ": 1, "lesion": 2}
SPACING = (1.5, 1.5, 2.5)  # mm

Array = NDArray[np.float32]
Vector = Sequence[float] | NDArray


def phantom(
    seed: int | Sequence[int],
    shape: tuple[int, int, int] = (64, 64, 40),
    spacing: tuple[float, float, float] = SPACING,
    deformation: float = 0.12,
    contrast: float = 1.0,
    bias: float = 0.3,
    noise: float = 0.05,
    distractors: int = 6,
) -> tuple[Array, NDArray[np.uint8]]:
    """One study. The anatomy is scaled to the in-plane field of view and isotropic in mm.

    Args:
        seed: an int, or several (study 3 of seed 0: ``(0, 3)``); the same seed gives the same bytes.
        shape: voxels (X, Y, Z).
        spacing: mm per voxel.
        deformation: sd of the smooth displacement, as a share of half the field of view.
        contrast: how far the tissues' intensities differ between studies; 0: the same in all.
        bias: sd of the logarithm of the bias field.
        noise: sd of the Gaussian noise in both channels of the complex signal (Rician magnitude), as a share of
            the brightest tissue.
        distractors: structures as bright as the organ that are not the organ.

    Returns:
        Image float32 (X, Y, Z), 0 to about 2000, and label uint8 (X, Y, Z) with the values of :data:`LABELS`.
    """
    rng = np.random.default_rng(seed)
    points, voxel = _coordinates(shape, spacing)
    points = points + deformation * np.stack([smooth_field(rng, shape) for _ in range(3)])

    body = _ellipsoid(points, (0, 0, 0), (0.92, 0.78, 1.6))
    centre = np.array([-0.25, 0.05, 0.0]) + rng.uniform(-0.15, 0.15, 3)
    radii = rng.uniform((0.28, 0.22, 0.28), (0.40, 0.32, 0.42))
    outwards = _unit(rng.normal((-0.3, 1.0, 0.0)))  # the appendage leaves towards the front
    root, tip = centre + 0.8 * radii * outwards, centre + (radii + rng.uniform(0.18, 0.32)) * outwards
    organ = np.maximum(_ellipsoid(points, centre, radii), _tube(points, root, tip, rng.uniform(0.07, 0.11)))
    lesion_centre = centre + 0.45 * radii * _unit(rng.normal(size=3))
    lesion = np.minimum(_ellipsoid(points, lesion_centre, rng.uniform(0.13, 0.21, 3)), organ)

    tissue = _tissues(rng, contrast)
    image = tissue["body"] * (1 + 0.12 * smooth_field(rng, shape, waves=9))
    image = _paint(image, _distractors(rng, points, distractors, organ), tissue["organ"], voxel)
    image = _paint(image, _cysts(rng, points, organ), tissue["lesion"], voxel)
    image = _paint(image, organ, tissue["organ"], voxel)
    image = _paint(image, lesion, tissue["lesion"], voxel)
    image = _paint(image, 0.07 - body, tissue["fat"], voxel)
    image = _paint(image, -body, 0.02, voxel)

    image = image * np.exp(bias * smooth_field(rng, shape, waves=3))
    real, imaginary = noise * rng.standard_normal((2, *shape), dtype=np.float32)
    image = 1000 * rng.uniform(0.6, 1.4) * np.hypot(image + real, imaginary)
    label = np.where(lesion > 0, 2, np.where(organ > 0, 1, 0)) * (body > 0)
    return image.astype(np.float32), label.astype(np.uint8)


def write_studies(
    folder: Path,
    count: int,
    labelled: int,
    seed: int = 0,
    first: int = 0,
    shape: tuple[int, int, int] = (64, 64, 40),
    spacing: tuple[float, float, float] = SPACING,
    **options: Any,
) -> list[str]:
    """Write a studies folder as MONAI Label serves it: images, ``labels/final/`` and ``dataset.json``.

    Args:
        folder: made if it is not there.
        count: studies to write, of which the first ``labelled`` get their label.
        seed, first: studies ``first`` to ``first + count - 1`` of this seed; study i is the same whatever ``count``.
        shape, spacing, options: see :func:`phantom`.

    Returns:
        The ids of the studies, in order.
    """
    folder = Path(folder)
    finals = folder / "labels" / "final"
    finals.mkdir(parents=True, exist_ok=True)
    ids = [f"phantom_{number:03d}" for number in range(first, first + count)]
    for place, name in enumerate(ids):
        key = (seed, first + place)
        image, label = phantom(key, shape, spacing, **options)
        affine = _affine(np.random.default_rng((*key, 1)), shape, spacing)
        _save(folder / f"{name}.nii.gz", image.round().astype(np.int16), affine)
        if place < labelled:
            _save(finals / f"{name}.nii.gz", label, affine)
    about = {"name": "phantoms", "labels": LABELS, "dimension": 3, "modality": "mr"}
    (folder / "dataset.json").write_text(json.dumps(about, indent=1) + "\n")
    return ids


def smooth_field(rng: np.random.Generator, shape: tuple[int, int, int], waves: int = 4) -> Array:
    """A random field (X, Y, Z) of mean 0 and sd 1 from the ``waves`` lowest cosines of each axis."""
    order = np.arange(waves)
    decay = 1 / (1 + sum(np.meshgrid(order**2, order**2, order**2, indexing="ij")))
    weights = (rng.standard_normal((waves,) * 3) * decay).astype(np.float32)
    for size in shape:  # one axis after the other; the summed axis comes back at the end, so the order is kept
        cosines = np.cos(np.pi * np.outer(order, (np.arange(size) + 0.5) / size)).astype(np.float32)
        weights = np.tensordot(weights, cosines, axes=(0, 0))
    return (weights - weights.mean()) / max(float(weights.std()), 1e-6)


def _coordinates(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> tuple[Array, float]:
    """Voxel centres (3, X, Y, Z) with -1 to 1 over the in-plane field of view, and the size of a voxel in that unit."""
    unit = (shape[0] * spacing[0] + shape[1] * spacing[1]) / 4
    axes = [((np.arange(n) - (n - 1) / 2) * mm / unit).astype(np.float32) for n, mm in zip(shape, spacing, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij")), float(np.mean(spacing) / unit)


def _tissues(rng: np.random.Generator, contrast: float) -> dict[str, float]:
    """Intensities of one study: the organ is brighter than the body, and its lesion darker than the organ."""
    means, ranges = np.array([0.40, 0.72, -0.30, 0.70]), contrast * np.array([0.08, 0.14, 0.16, 0.25])
    body, organ, lesion, fat = rng.uniform(means - ranges, means + ranges)
    return {"body": body, "organ": organ, "lesion": organ + lesion, "fat": fat}


def _distractors(rng: np.random.Generator, points: Array, count: int, organ: Array) -> Array:
    """Loops and vessels, and one ball of the organ's size without a lesion; none touches the organ."""
    field = _ellipsoid(points, rng.uniform((0.3, -0.3, -0.3), (0.5, 0.3, 0.3)), rng.uniform(0.2, 0.3, 3))
    for _ in range(count):
        start = rng.uniform((-0.8, -0.7, -0.8), (0.8, 0.7, 0.8))
        end = start + rng.uniform(0.1, 0.7) * _unit(rng.normal(size=3))
        field = np.maximum(field, _tube(points, start, end, rng.uniform(0.06, 0.16)))
    return np.minimum(field, -organ - 0.03)


def _cysts(rng: np.random.Generator, points: Array, organ: Array, count: int = 4) -> Array:
    """Balls as bright as the lesion, outside of the organ."""
    centres = rng.uniform((-0.8, -0.7, -0.8), (0.8, 0.7, 0.8), (count, 3))
    return np.minimum(
        np.maximum.reduce([_ellipsoid(points, c, rng.uniform(0.07, 0.15, 3)) for c in centres]), -organ - 0.03
    )


def _ellipsoid(points: Array, centre: Vector, radii: Vector) -> Array:
    """Distance to the surface (X, Y, Z), positive inside; exact to first order."""
    offset = points - np.reshape(centre, (3, 1, 1, 1)).astype(np.float32)
    scaled = offset / np.reshape(radii, (3, 1, 1, 1)).astype(np.float32)
    level = np.sqrt((scaled**2).sum(0)) + 1e-6
    slope = np.sqrt(((scaled / np.reshape(radii, (3, 1, 1, 1))) ** 2).sum(0)) + 1e-6
    return level * (1 - level) / slope


def _tube(points: Array, start: NDArray, end: NDArray, radius: float) -> Array:
    """Distance to the surface of a round-ended tube (X, Y, Z), positive inside."""
    axis = (end - start).astype(np.float32)
    offset = points - start.astype(np.float32).reshape(3, 1, 1, 1)
    along = np.clip(np.tensordot(axis, offset, 1) / max(float(axis @ axis), 1e-6), 0, 1)
    return radius - np.sqrt(((offset - axis.reshape(3, 1, 1, 1) * along) ** 2).sum(0))


def _paint(image: Array, distance: Array, value: float, voxel: float) -> Array:
    """Lay a structure over the image; a border voxel mixes both tissues by its share in each (partial volume)."""
    share = np.clip(distance / voxel + 0.5, 0, 1)
    return image * (1 - share) + value * share


def _unit(vector: NDArray) -> NDArray:
    return vector / np.linalg.norm(vector)


def _affine(rng: np.random.Generator, shape: Sequence[int], spacing: Sequence[float]) -> NDArray:
    """An oblique grid, stored left-posterior-superior as scanners do, centred somewhere near the origin."""
    angle = np.deg2rad(rng.uniform(-12, 12))
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = np.diag([-1, -1, 1]) @ turn @ np.diag(spacing)
    affine[:3, 3] = rng.uniform(-40, 40, 3) - affine[:3, :3] @ (np.array(shape) / 2)
    return affine


def _save(path: Path, array: NDArray, affine: NDArray) -> None:
    image = nib.Nifti1Image(array, affine)
    image.set_qform(affine, code=1)  # some readers know only this one
    image.set_sform(affine, code=1)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
