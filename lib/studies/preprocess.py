"""The one deterministic pipeline from a file to what a network sees, and its exact inverse.

load -> nearest RAS -> the plan's channels -> resample to its spacing -> normalise. Resampling maps the volume's outer
edges onto each other (voxels are boxes, not points), so going there and back keeps shape and position exactly.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from lib.errors import StudyError
from lib.studies.cases import study_id
from lib.studies.orientation import from_ras, to_ras
from lib.studies.pictures import to_luminance
from lib.studies.plan import Plan
from lib.studies.reading import read_image

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Geometry:
    """All it takes to go back to the image's own grid.

    Attributes:
        shape: of the file's array, ``(X, Y, Z)`` without channels. affine: its 4x4 voxel-to-RAS matrix, mm.
        turn: the orientation change of ``to_ras``. size: shape after resampling, in RAS.
        spacing: mm of the preprocessed voxels. notes: what was mended in the image, in words.
    """

    shape: tuple[int, ...]
    affine: np.ndarray
    turn: np.ndarray
    size: tuple[int, ...]
    spacing: tuple[float, ...]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self) | {"affine": self.affine.tolist(), "turn": self.turn.tolist()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Geometry:
        """The inverse of :meth:`to_dict`."""
        plain = {key: tuple(values[key]) for key in ("shape", "size", "spacing", "notes")}
        return cls(affine=np.array(values["affine"]), turn=np.array(values["turn"]), **plain)


class Preprocess:
    """The pipeline of one plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def image(self, path: Path | str, modality: int = 0) -> tuple[np.ndarray, Geometry]:
        """A file as float32 ``(C, X, Y, Z)`` in RAS at the plan's spacing, normalised, and its geometry.

        Args:
            modality: which of the plan's modalities the file shows.

        Raises:
            StudyError: unreadable, or without one finite voxel.
        """
        array, affine = read_image(path)
        turned, spacing, turn = to_ras(np.moveaxis(array, 0, -1).astype(np.float32), affine)
        volume, mended = finite(np.moveaxis(turned, -1, 0), study_id(path))
        volume, converted = self._channels(volume)
        shape = volume.shape[1:]
        size = self._size(shape, spacing)
        resampled = resize(torch.from_numpy(volume.copy()), size)
        edges = tuple(float(n * own / new) for n, own, new in zip(shape, spacing, size, strict=True))
        geometry = Geometry(array.shape[1:], affine, turn, size, edges, (*mended, *converted))
        return self._normalise(resampled.numpy(), *self.plan.intensities(modality)), geometry

    def label(self, classes: np.ndarray, geometry: Geometry) -> np.ndarray:
        """Class indices on the image's own grid as uint8 ``(X, Y, Z)`` on the preprocessed one.

        Each class is resampled as a mask and the strongest wins, which keeps thin structures better than the
        nearest voxel does.
        """
        turned = to_ras(classes, geometry.affine)[0].copy()
        if turned.shape == geometry.size:
            return turned
        masks = (torch.from_numpy(turned == index)[None].float() for index in range(int(turned.max()) + 1))
        return strongest(resize(mask, geometry.size)[0] for mask in masks)

    def restore(self, volume: Tensor, geometry: Geometry) -> Tensor:
        """Float ``(K, X, Y, Z)`` on the preprocessed grid as ``(K, *the image's own shape)``."""
        turned = tuple(int(n) for n in _turned_shape(geometry))
        own = resize(volume.float().cpu(), turned)
        return torch.stack([torch.from_numpy(from_ras(channel.numpy(), geometry.turn).copy()) for channel in own])

    def _channels(self, volume: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
        """Grey repeated where the networks see colours; colours as their luminance where they see grey."""
        if len(volume) == self.plan.channels:
            return volume, ()
        if len(volume) == 1:
            return np.repeat(volume, self.plan.channels, axis=0), ()
        note = "its colours were turned to grey, because the pictures that the model learnt first have none"
        return to_luminance(volume), (note,)

    def _size(self, shape: tuple[int, ...], spacing: np.ndarray) -> tuple[int, ...]:
        """Voxels at the plan's spacing; slices stay as they are."""
        size = [max(1, round(n * own / new)) for n, own, new in zip(shape, spacing, self.plan.spacing, strict=True)]
        if self.plan.flat_axis is not None:
            size[self.plan.flat_axis] = shape[self.plan.flat_axis]
        return tuple(int(n) for n in size)

    def _normalise(self, volume: np.ndarray, scheme: str, window: tuple[float, ...]) -> np.ndarray:
        if scheme == "picture":
            return _standardise(volume)
        if scheme == "ct":
            low, high, mean, sd = window
            return (np.clip(volume, low, high) - mean) / sd
        body = volume[volume > volume.min()]  # an even background says nothing about the contrast
        if not body.size:
            return np.zeros_like(volume)
        low, high = np.percentile(body, (0.5, 99.5))
        return (np.clip(volume, low, high) - body.mean()) / max(body.std(), 1e-6)


def _standardise(volume: np.ndarray) -> np.ndarray:
    """Zero mean and unit variance over all channels together, so that the colours keep their relations."""
    low, high = np.percentile(volume, (0.5, 99.5))
    clipped = np.clip(volume, low, high) if low < high else volume  # a few bright cells on black are no outliers
    return (clipped - clipped.mean()) / max(clipped.std(), 1e-6)


def resize(volume: Tensor, size: tuple[int, ...]) -> Tensor:
    """Float ``(K, X, Y, Z)`` with another shape over the same extent; averages where it shrinks by 2 or more."""
    if tuple(volume.shape[1:]) == tuple(size):
        return volume
    shrink = [old // new for old, new in zip(volume.shape[1:], size, strict=True)]
    if max(shrink) >= 2:  # plain interpolation would skip voxels
        between = tuple(
            new if factor >= 2 else old for old, new, factor in zip(volume.shape[1:], size, shrink, strict=True)
        )
        volume = torch.nn.functional.adaptive_avg_pool3d(volume, between)  # type: ignore[arg-type]
    return interpolate(volume[None], size=size, mode="trilinear", align_corners=False)[0]


def strongest(maps: Iterable[Tensor]) -> np.ndarray:
    """The index of the map that is highest at each voxel, uint8 ``(X, Y, Z)``; the first one wins a tie.

    Takes the maps one by one, so that ten classes of a large volume are never in memory together.
    """
    waiting = iter(maps)
    best = next(waiting)
    index = torch.zeros(best.shape, dtype=torch.uint8)
    for number, values in enumerate(waiting, 1):
        index[values > best] = number
        best = torch.maximum(best, values)
    return index.numpy()


def _turned_shape(geometry: Geometry) -> np.ndarray:
    shape = np.empty(3, dtype=int)
    shape[geometry.turn[:, 0].astype(int)] = geometry.shape
    return shape


def finite(volume: np.ndarray, study: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Voxels of ``(C, X, Y, Z)`` that are no number take the darkest value of the rest; what was mended, in words."""
    bad = ~np.isfinite(volume)
    if not bad.any():
        return volume, ()
    if bad.all():
        raise StudyError(study, "not one voxel of its image is a finite number", "Export it again")
    note = f"{int(bad.sum())} voxels were no finite numbers and took the darkest value"
    log.warning("Study '%s': %s", study, note)
    return np.where(bad, volume[~bad].min(), volume), (note,)
