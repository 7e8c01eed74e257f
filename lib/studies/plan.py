"""Choosing spacing, intensity scheme and patch size from the studies, as a small nnU-Net fingerprint does.

Source: Isensee et al., "nnU-Net", Nature Methods 18 (2021), 203-211: median spacing and shape; CT is clipped to
the 0.5 and 99.5 percentiles of the labelled foreground of all studies, other modalities are scaled study by study.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.config import Config
from lib.errors import NotReadyError, StudyError
from lib.studies.cases import Case
from lib.studies.labels import LabelMap, read_label
from lib.studies.orientation import to_ras
from lib.studies.reading import read_volume

log = logging.getLogger(__name__)

SAMPLE = 24  # studies read for the fingerprint: medians settle early, reading does not get cheaper
AIR = -300.0  # HU; no MR reader stores values this low as the darkest of half its studies
PATCH_VOXELS = {"cpu": 56 * 56 * 40, "cuda": 112 * 112 * 80}
STEP = 8  # a network of four levels halves three times


@dataclass(frozen=True)
class Plan:
    """What the deterministic preprocessing does; part of every stored model.

    Attributes:
        spacing: mm, along R, A, S.
        modality: ``mr`` or ``ct``.
        patch: voxels.
        window: for CT (lowest, highest, mean, sd) in HU, else empty.
    """

    spacing: tuple[float, ...]
    modality: str
    patch: tuple[int, ...]
    window: tuple[float, ...] = ()

    @property
    def key(self) -> str:
        """Changes with whatever changes the preprocessed volumes (so not with the patch)."""
        text = json.dumps([self.spacing, self.modality, self.window])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON and ``weights_only`` files."""
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Plan:
        """The inverse of :meth:`to_dict`."""
        plain: dict[str, Any] = {key: tuple(item) if isinstance(item, list) else item for key, item in values.items()}
        return cls(**plain)


def make_plan(cases: Sequence[Case], labels: LabelMap, config: Config, device: str = "cpu") -> Plan:
    """The plan for these studies; what the settings give is taken, the rest is measured.

    Raises:
        NotReadyError: not one readable study.
    """
    sample = sorted(cases, key=lambda case: (case.label is None, case.id))
    shapes, spacings, darkest, foreground = [], [], [], []
    for case in sample:
        try:
            array, affine = read_volume(case.image)
            canonical, edges, _ = to_ras(array, affine)
        except StudyError as error:
            log.warning("%s It does not count for the plan.", error)
            continue
        shapes.append(np.array(canonical.shape) * edges)
        spacings.append(edges)
        finite = array[np.isfinite(array)]
        darkest.append(np.percentile(finite, 0.5) if finite.size else 0.0)
        if config.modality != "mr" and case.label:
            foreground.append(_foreground(case, labels, array, affine))
        if len(shapes) == SAMPLE:
            break
    if not shapes:
        raise NotReadyError("Not one study can be read; the log names each with the reason")
    modality = config.modality if config.modality != "auto" else "ct" if np.median(darkest) < AIR else "mr"
    spacing = config.spacing or tuple(round(float(edge), 4) for edge in np.median(spacings, axis=0))
    shape = np.maximum(np.round(np.median(shapes, axis=0) / spacing), 1).astype(int)
    patch = config.patch or patch_size(shape, PATCH_VOXELS["cuda" if device.startswith("cuda") else "cpu"])
    return Plan(spacing, modality, patch, _window(foreground) if modality == "ct" else ())


def patch_size(shape: np.ndarray, voxels: int) -> tuple[int, ...]:
    """The largest patch of the median study's proportions within so many voxels, each edge a multiple of 8."""
    size = np.maximum(np.ceil(shape / STEP) * STEP, STEP).astype(int)
    while size.prod() > voxels:
        size[np.argmax(size / np.maximum(shape, 1) * (size > STEP) + size * 1e-3)] -= STEP
    return tuple(int(edge) for edge in size)


def _foreground(case: Case, labels: LabelMap, array: np.ndarray, affine: np.ndarray) -> np.ndarray:
    try:
        return array[read_label(case, labels, array.shape, affine) > 0].astype(np.float32)[::7]
    except StudyError as error:
        log.warning("%s Its label does not count for the plan.", error)
        return np.empty(0, dtype=np.float32)


def _window(foreground: Sequence[np.ndarray]) -> tuple[float, ...]:
    """(lowest, highest, mean, sd) of the foreground; a soft-tissue window before anything is labelled."""
    values = np.concatenate([*foreground, np.empty(0, dtype=np.float32)])
    values = values[np.isfinite(values)]
    if values.size < 100:
        return (-160.0, 240.0, 40.0, 100.0)
    low, high = np.percentile(values, (0.5, 99.5))
    clipped = np.clip(values, low, high)
    return tuple(round(float(number), 3) for number in (low, high, clipped.mean(), max(clipped.std(), 1e-3)))
