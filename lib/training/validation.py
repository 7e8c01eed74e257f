"""Dice on the validation studies, on each image's own grid, through the path that serves them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from lib.config import Config
from lib.errors import StudyError
from lib.inference.metrics import dice
from lib.inference.segmenter import Segmenter
from lib.methods.base import Method
from lib.studies.cache import VolumeCache
from lib.studies.cases import Case
from lib.studies.labels import LabelMap, read_label
from lib.studies.modalities import patterns

log = logging.getLogger(__name__)

CaseDice = dict[str, dict[str, float]]  # study -> class -> Dice; of several modalities the keys are "modality/class"


def validate(method: Method, cases: Sequence[Case], cache: VolumeCache, config: Config) -> CaseDice:
    """The Dice of each class on each case, with the method's weights as they are; leaves it in its mode.

    Of several modalities each that is there is segmented alone, as it is when the model serves.
    A case that cannot be read any more is left out and said so.
    """
    mode = method.training
    segmenter = Segmenter(method, cache.preprocess.plan, cache.labels, config)
    found: CaseDice = {}
    try:
        for case in cases:
            try:
                found[case.id] = _case_dice(segmenter, case, cache, cache.labels)
            except StudyError as error:
                log.warning("Not validated on. %s", error)
    finally:
        method.train(mode)
    return found


def mean_dice(found: CaseDice) -> float:
    """Mean over the classes of each study, then over the studies."""
    means = [sum(classes.values()) / len(classes) for classes in found.values()]
    return sum(means) / len(means)


def modality_means(found: CaseDice, modalities: Sequence[str]) -> dict[str, float]:
    """Modality -> mean Dice over its classes and the studies that have it: which one is the stronger.

    Args:
        modalities: as the settings name them; of fewer than two there is nothing to compare.
    """
    names = patterns(modalities) if len(modalities) > 1 else {}
    parts = {
        name: {study: _of_modality(classes, name) for study, classes in found.items() if _of_modality(classes, name)}
        for name in names
    }
    return {name: mean_dice(part) for name, part in parts.items() if part}


def _of_modality(classes: dict[str, float], name: str) -> dict[str, float]:
    return {key: value for key, value in classes.items() if key.startswith(f"{name}/")}


def _case_dice(segmenter: Segmenter, case: Case, cache: VolumeCache, labels: LabelMap) -> dict[str, float]:
    volume = cache.get(case)
    reference = labels.to_values(read_label(case, labels, volume.geometry.shape, volume.geometry.affine))

    def overlaps(image: np.ndarray, modality: int = 0, prefix: str = "") -> dict[str, float]:
        found = segmenter.label(segmenter.infer(image, modality), volume.geometry)
        scores = dice(found, reference, sorted(labels.values))
        return {prefix + labels.values[value]: score for value, score in scores.items()}

    if len(volume.present) == 1:
        return overlaps(volume.image)
    each = enumerate(zip(segmenter.plan.modality_names, volume.present, strict=True))
    alone = [overlaps(volume.image[[place]], place, f"{name}/") for place, (name, there) in each if there]
    return {key: value for part in alone for key, value in part.items()}
