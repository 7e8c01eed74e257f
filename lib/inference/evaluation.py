"""A published model against the submitted labels of studies: Dice, HD95 and time of each, and their means."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lib.errors import StudyError
from lib.inference.metrics import dice, hd95, mean_and_missed
from lib.studies.alignment import label_on
from lib.studies.cases import Case, study_id
from lib.studies.labels import LabelMap
from lib.studies.reading import voxel_spacing


class Segmented(Protocol):
    """What evaluation needs of a :class:`lib.inference.segmenter.Segmentation`."""

    @property
    def label(self) -> np.ndarray:
        """uint8 ``(X, Y, Z)`` on the image's own grid, in the values of the label map."""

    @property
    def affine(self) -> np.ndarray:
        """4x4, from the image's voxels to mm."""


@dataclass(frozen=True)
class Evaluation:
    """One study: class name -> Dice, class name -> HD95 in mm (nan: missed), and the seconds of its segmentation."""

    id: str
    dice: dict[str, float]
    hd95: dict[str, float]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it: a missed distance is null."""
        distances = {name: _null(distance) for name, distance in self.hd95.items()}
        return {"id": self.id, "dice": self.dice, "hd95": distances, "seconds": round(self.seconds, 3)}


def evaluate(
    segmenter: Callable[[Path], Segmented],
    cases: Sequence[Case],
    labels: LabelMap,
    progress: Callable[[int, int], None] | None = None,
    every_series: bool = False,
) -> tuple[list[Evaluation], dict[str, str]]:
    """Segment every case and compare it with its label on the image's own grid, nothing cleaned up or cropped.

    Args:
        labels: the classes of the model.
        progress: told ``(done, of)`` after each case.
        every_series: all of a patient's series, each under its own id; false: the one that was labelled.

    Returns:
        The evaluations, and study -> sentence for those that could not be used.
    """
    done: list[Evaluation] = []
    skipped: dict[str, str] = {}
    for count, case in enumerate(cases, 1):
        for file in case.files if every_series else [case.image]:
            study = study_id(file) if every_series and case.modalities else case.id
            try:
                case.usable()
                done.append(_evaluate(segmenter, study, case, file, labels))
            except StudyError as error:
                skipped[study] = str(error)
        if progress:
            progress(count, len(cases))
    return done, skipped


def summary(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """Means over the studies; misses are counted and leave the mean of HD95.

    Returns:
        ``dice`` and ``hd95``: ``classes`` (name -> mean over the studies) and ``mean`` (over all); ``missed``: how
        many distances there were none of; ``seconds``: a study; ``studies``: how many. None is a mean of nothing.
    """
    return {
        "studies": len(evaluations),
        "dice": _means([each.dice for each in evaluations]),
        "hd95": _means([each.hd95 for each in evaluations]),
        "missed": mean_and_missed(distance for each in evaluations for distance in each.hd95.values())[1],
        "seconds": _null(mean_and_missed(each.seconds for each in evaluations)[0]),
    }


def _evaluate(
    segmenter: Callable[[Path], Segmented], study: str, case: Case, file: Path, labels: LabelMap
) -> Evaluation:
    start = time.perf_counter()
    found = segmenter(file)
    seconds = time.perf_counter() - start
    reference = labels.to_values(label_on(case, file, labels, found.label.shape, found.affine))
    overlaps = dice(found.label, reference, labels.values)
    distances = hd95(found.label, reference, labels.values, voxel_spacing(found.affine).tolist())
    return Evaluation(study, _by_name(overlaps, labels), _by_name(distances, labels), seconds)


def _by_name(values: dict[int, float], labels: LabelMap) -> dict[str, float]:
    return {labels.values[value]: values[value] for value in sorted(values)}


def _means(values: Sequence[dict[str, float]]) -> dict[str, Any]:
    names = values[0] if values else ()
    classes = {name: _null(mean_and_missed(each[name] for each in values)[0]) for name in names}
    overall = mean_and_missed(number for each in values for number in each.values())[0]
    return {"classes": classes, "mean": _null(overall)}


def _null(value: float) -> float | None:
    return None if math.isnan(value) else value
