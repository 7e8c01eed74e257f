"""The worst and the median validation case as pictures: image, label, prediction and uncertainty side by side."""

from __future__ import annotations

import base64
import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.errors import StudyError
from lib.inference.metrics import dice
from lib.inference.overlay import Row, best_slice, draw_overlay
from lib.inference.segmenter import Segmenter
from lib.studies.alignment import label_on
from lib.studies.cases import Case
from lib.studies.orientation import to_ras
from lib.studies.reading import read_image

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Picture:
    """One case. why: ``worst`` or ``median``; text: what it shows, in words; png: the file in base64."""

    study: str
    why: str
    text: str
    png: str


def worst_and_median(means: Mapping[str, float]) -> dict[str, str]:
    """Study -> ``worst`` or ``median``, by mean Dice; of an even number of studies the lower of the middle two."""
    ordered = sorted(means, key=lambda study: (means[study], study))
    if not ordered:
        return {}
    return {ordered[(len(ordered) - 1) // 2]: "median"} | {ordered[0]: "worst"}


def draw_cases(segmenter: Segmenter, cases: Sequence[Case], means: Mapping[str, float]) -> list[Picture]:
    """The pictures, the worst first. A case that cannot be read any more is left out, and the log says so.

    Args:
        cases: among them those of ``means``, labelled. means: study -> mean Dice of the validation.
    """
    wanted = worst_and_median(means)
    found = []
    for case in sorted((case for case in cases if case.id in wanted), key=lambda case: wanted[case.id] != "worst"):
        try:
            found.append(_draw(segmenter, case.usable(), wanted[case.id]))
        except StudyError as error:
            log.warning("Not drawn in the report. %s", error)
    return found


def disagreement(reference: np.ndarray, predicted: np.ndarray) -> int:
    """Index along Z of the slice with most differing voxels; without any, of the one that shows most of the label.

    Args:
        reference, predicted: label values ``(X, Y, Z)``.
    """
    wrong = (reference != predicted).sum((0, 1))
    return int(wrong.argmax()) if wrong.any() else best_slice(reference)


def _draw(segmenter: Segmenter, case: Case, why: str) -> Picture:
    found = segmenter(case.image, uncertainty=True)
    assert found.uncertainty is not None
    image, affine = read_image(case.image)
    reference = segmenter.labels.to_values(
        label_on(case, case.image, segmenter.labels, found.label.shape, found.affine)
    )
    upright, spacing = in_view(affine, segmenter.plan.flat_axis)
    truth, predicted = upright(reference), upright(found.label)
    level, classes = disagreement(truth, predicted), segmenter.labels.values
    overlaps = dice(predicted, truth, sorted(classes))
    row = Row(
        case.id,
        upright(image[0] if len(image) == 1 else np.moveaxis(image, 0, -1)),
        truth,
        {"prediction": predicted},
        {"prediction": sum(overlaps.values()) / len(overlaps)},
        upright(found.uncertainty),
        spacing,
        level,
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "case.png"
        draw_overlay(file, [row], classes)
        png = base64.b64encode(file.read_bytes()).decode()
    each = ", ".join(f"{classes[value]} {overlap:.3f}" for value, overlap in overlaps.items())
    wrong = int((truth[:, :, level] != predicted[:, :, level]).sum())
    text = (
        f"{case.id}, slice {level + 1} of {truth.shape[2]}, on which {wrong} voxels differ: image, label, prediction "
        f"with the label dashed, uncertainty. Dice of the whole study: {each}"
    )
    return Picture(case.id, why, text, png)


def in_view(
    affine: np.ndarray, slices: int | None
) -> tuple[Callable[[np.ndarray], np.ndarray], tuple[float, float, float]]:
    """How to turn an array (X, Y, Z) of this grid for its last axis to count the slices looked at; its spacing then.

    Args:
        slices: the axis of R, A, S along which 2D networks see slices; None: axial ones are shown.
    """
    axis = 2 if slices is None else slices
    order = [*(other for other in range(3) if other != axis), axis]

    def turned(array: np.ndarray) -> np.ndarray:
        upright = to_ras(array, affine)[0]
        return np.ascontiguousarray(upright.transpose(*order, *range(3, upright.ndim)))

    x, y, z = to_ras(np.empty((1, 1, 1)), affine)[1][order]
    return turned, (float(x), float(y), float(z))
