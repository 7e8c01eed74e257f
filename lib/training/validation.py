"""Dice on the validation studies, on each image's own grid, through the path that serves them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from lib.config import Config
from lib.errors import StudyError
from lib.inference.metrics import dice
from lib.inference.segmenter import Segmenter
from lib.methods.base import Method
from lib.studies.cache import VolumeCache
from lib.studies.cases import Case
from lib.studies.labels import LabelMap, read_label

log = logging.getLogger(__name__)

CaseDice = dict[str, dict[str, float]]  # study -> class -> Dice


def validate(method: Method, cases: Sequence[Case], cache: VolumeCache, config: Config) -> CaseDice:
    """The Dice of each class on each case, with the method's weights as they are; leaves it in its mode.

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


def _case_dice(segmenter: Segmenter, case: Case, cache: VolumeCache, labels: LabelMap) -> dict[str, float]:
    volume = cache.get(case)
    found = segmenter.label(segmenter.infer(volume.image), volume.geometry)
    reference = labels.to_values(read_label(case, labels, volume.geometry.shape, volume.geometry.affine))
    overlaps = dice(found, reference, sorted(labels.values))
    return {labels.values[value]: overlap for value, overlap in overlaps.items()}
