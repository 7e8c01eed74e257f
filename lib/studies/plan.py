"""Choosing dimension, spacing, intensity scheme and patch size from the studies, as a small nnU-Net fingerprint does.

Source: Isensee et al., "nnU-Net", Nature Methods 18 (2021), 203-211: median spacing and shape; CT is clipped to
the 0.5 and 99.5 percentiles of the labelled foreground of all studies, other modalities are scaled study by study.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from lib.config import Config
from lib.errors import ConfigError, NotReadyError
from lib.studies.cases import Case
from lib.studies.fingerprint import Fingerprint, measure
from lib.studies.labels import LabelMap
from lib.studies.modalities import patterns

AIR = -300.0  # HU; no MR reader stores values this low as the darkest of half its studies
THICK = 4.0  # ratio of slice thickness to pixel size beyond which 3D kernels join what does not belong together
PATCH_VOXELS = {"cpu": 56 * 56 * 40, "cuda": 112 * 112 * 80}
SLICE_PIXELS = {"cpu": 256 * 256, "cuda": 512 * 512}
STEP, SLICE_STEP = 8, 16  # a network of four levels halves three times, one of five levels four times
PATCHES, MOST_SLICES = 2, 8  # in a batch: patches of a volume, and the most slices in their place
SOFT_TISSUE = (-160.0, 240.0, 40.0, 100.0)  # HU; the window before anything is labelled

Numbers = TypeVar("Numbers", bound=tuple[float, ...])


@dataclass(frozen=True)
class Plan:
    """What the deterministic preprocessing does; part of every stored model.

    Attributes:
        spacing: mm, along R, A, S.
        modality: ``mr``, ``ct`` or ``picture``.
        patch: voxels, three numbers; in dimension 2 it is 1 along the slice axis.
        window: for CT (lowest, highest, mean, sd) in HU, else empty.
        dimension: of the networks, 2 or 3. slice_axis: in dimension 2 the axis of R, A, S that slices are stacked
            along, which is never resampled.
        channels: of the image, 3 for colours.
        modalities: as the settings name them; of two or more, ``schemes`` and ``windows`` have an item each.
    """

    spacing: tuple[float, ...]
    modality: str
    patch: tuple[int, ...]
    window: tuple[float, ...] = ()
    dimension: int = 3
    slice_axis: int = 2
    channels: int = 1
    modalities: tuple[str, ...] = ()
    schemes: tuple[str, ...] = ()
    windows: tuple[tuple[float, ...], ...] = ()

    @property
    def modality_names(self) -> tuple[str, ...]:
        """In the order in which volumes and networks have them; empty for ordinary studies."""
        return tuple(patterns(self.modalities))

    def intensities(self, modality: int = 0) -> tuple[str, tuple[float, ...]]:
        """Scheme and window of one of the modalities."""
        return (self.schemes[modality], self.windows[modality]) if self.schemes else (self.modality, self.window)

    @property
    def flat_axis(self) -> int | None:
        """The axis that the networks do not have: in dimension 2 the slice axis, in dimension 3 none."""
        return self.slice_axis if self.dimension == 2 else None

    @property
    def network_patch(self) -> tuple[int, ...]:
        """Edges of the patch along the axes that the networks have."""
        return in_plane(self.patch, self.flat_axis)

    @property
    def key(self) -> str:
        """Changes with whatever changes the preprocessed volumes (so not with the patch)."""
        parts = [self.spacing, self.modality, self.window, self.flat_axis, self.channels]
        text = json.dumps([*parts, self.modalities, self.schemes, self.windows] if self.schemes else parts)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def differences(self, config: Config) -> list[str]:
        """Names of the settings that ask for another plan than this one."""
        axis = self.flat_axis
        asked = {
            "dimension": config.dimension in ("auto", str(self.dimension)),
            "spacing": in_plane(config.spacing, axis) in ((), in_plane(self.spacing, axis)),
            "patch": in_plane(config.patch, axis) in ((), self.network_patch),
            "modality": config.modality == "auto" or {config.modality} == {self.modality, *self.schemes},
            "modalities": config.modalities == self.modalities,
        }
        return [name for name, same in asked.items() if not same]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON and ``weights_only`` files."""
        return {key: _plain(value) for key, value in dataclasses.asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Plan:
        """The inverse of :meth:`to_dict`; what a plan of an earlier version lacks has its default."""
        return cls(**{key: _frozen(item) for key, item in values.items()})


def make_plan(cases: Sequence[Case], labels: LabelMap, config: Config, device: str = "cpu") -> Plan:
    """The plan for these studies; what the settings give is taken, the rest is measured.

    Raises:
        NotReadyError: not one readable study.
        ConfigError: settings that do not fit the studies.
    """
    each = _measure_each(cases, labels, config)
    found = each[_reference(cases)] if len(each) > 1 else next(iter(each.values()))  # whose grid the networks see
    axis = _slice_axis(found) if _dimension(config, found) == 2 else None
    for name in ("spacing", "patch"):
        if axis is None and len(getattr(config, name)) == 2:
            raise ConfigError(f"{name} has two numbers, but these studies have 3D networks; give three, or dimension 2")
    median = tuple(round(float(edge), 4) for edge in found.spacing)
    spacing = _in_space(config.spacing, axis, median[axis or 0]) or median
    shape = np.maximum(np.round(found.extent / spacing), 1).astype(int)
    kind = "cuda" if device.startswith("cuda") else "cpu"
    if axis is None:
        patch = config.patch or patch_size(shape, PATCH_VOXELS[kind], STEP)
    else:
        plane = in_plane(config.patch, axis) or patch_size(np.delete(shape, axis), SLICE_PIXELS[kind], SLICE_STEP)
        patch = (*plane[:axis], 1, *plane[axis:])
    auto = config.modality == "auto"
    schemes = tuple(_modality(one, name) if auto else config.modality for name, one in each.items())
    windows = tuple(
        _window(one.foreground) if scheme == "ct" else () for scheme, one in zip(schemes, each.values(), strict=True)
    )
    more: dict[str, Any] = {} if axis is None else {"dimension": 2, "slice_axis": axis}
    more |= {"schemes": schemes, "windows": windows} if len(each) > 1 else {"channels": found.channels}
    return Plan(spacing, schemes[0], patch, windows[0], modalities=config.modalities, **more)


def _reference(cases: Sequence[Case]) -> str:
    """The modality that gives most of the patients their grid."""
    names = Counter(name for case in cases for name, file in case.modalities.items() if file == case.image)
    return names.most_common(1)[0][0]


def _measure_each(cases: Sequence[Case], labels: LabelMap, config: Config) -> dict[str, Fingerprint]:
    """Name of a modality -> its fingerprint; of fewer than two that of the images."""
    names, with_foreground = tuple(patterns(config.modalities)), config.modality in ("auto", "ct")
    if len(names) < 2:
        return {"".join(names): measure(cases, labels, with_foreground)}
    having = {name: [case for case in cases if name in case.modalities] for name in names}
    for name in names:
        if not having[name]:
            raise NotReadyError(
                f"No patient to learn from has the modality '{name}'; add one, or leave it out of modalities"
            )
    return {name: measure(having[name], labels, with_foreground, name) for name in names}


def patch_size(shape: np.ndarray, voxels: int, step: int = STEP) -> tuple[int, ...]:
    """The largest patch of this shape's proportions within so many voxels, each edge a multiple of ``step``."""
    size = np.maximum(np.ceil(shape / step) * step, step).astype(int)
    while size.prod() > voxels:
        size[np.argmax(size / np.maximum(shape, 1) * (size > step) + size * 1e-3)] -= step
    return tuple(int(edge) for edge in size)


def batch_size(given: int, plan: Plan, device: str = "cpu") -> int:
    """Patches of one kind in a batch: ``given`` by the settings or, where that is 0, what memory has room for.

    That is 2 patches of a volume, or the even number of slices (2 to 8) that holds about as many voxels; even,
    because CutMix works on pairs.
    """
    if given or plan.dimension == 3:
        return given or PATCHES
    slices = PATCHES * PATCH_VOXELS["cuda" if device.startswith("cuda") else "cpu"] / np.prod(plan.patch)
    return int(np.clip(2 * np.round(slices / 2), PATCHES, MOST_SLICES))


def in_plane(values: Numbers, axis: int | None) -> Numbers:
    """Three numbers without the one of this axis; two or none, or no axis, leave them as they are."""
    return values if axis is None or len(values) < 3 else values[:axis] + values[axis + 1 :]  # type: ignore[return-value]


def _in_space(values: tuple[float, ...], axis: int | None, across: float) -> tuple[float, ...]:
    """Two numbers of a plane with that of the third axis put in its place."""
    return values if axis is None or len(values) != 2 else (*values[:axis], across, *values[axis:])


def _dimension(config: Config, found: Fingerprint) -> int:
    single = found.pictures or found.slices.min() == 1
    if config.dimension == "auto":
        return 2 if single or found.spacing.max() > THICK * found.spacing.min() else 3
    if config.dimension == "3" and single:
        raise ConfigError(
            "The studies are pictures or single slices, which 3D networks cannot learn from; set dimension 2"
        )
    return int(config.dimension)


def _slice_axis(found: Fingerprint) -> int:
    """Of a single slice the axis it lies across, else that of the thickest voxel; the last of equal ones."""
    if found.slices.min() == 1:
        return int(np.flatnonzero(found.slices == 1)[-1])
    return int(np.flatnonzero(found.spacing > 0.95 * found.spacing.max())[-1])


def _modality(found: Fingerprint, name: str) -> str:
    """By the name too: a CT that was clipped to a window has no air any more."""
    if found.pictures:
        return "picture"
    return "ct" if name.lower().startswith("ct") or found.darkest < AIR else "mr"


def _window(foreground: np.ndarray) -> tuple[float, ...]:
    """(lowest, highest, mean, sd) of the foreground; a soft-tissue window before anything is labelled."""
    values = foreground[np.isfinite(foreground)]
    if values.size < 100:
        return SOFT_TISSUE
    low, high = np.percentile(values, (0.5, 99.5))
    clipped = np.clip(values, low, high)
    return tuple(round(float(number), 3) for number in (low, high, clipped.mean(), max(clipped.std(), 1e-3)))


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
