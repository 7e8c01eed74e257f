"""What a project's studies have in common, measured on a sample of them: size, spacing, intensities, colours."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.errors import NotReadyError, StudyError
from lib.studies.alignment import label_on
from lib.studies.cases import Case, is_picture
from lib.studies.labels import LabelMap
from lib.studies.orientation import to_ras
from lib.studies.reading import read_image

log = logging.getLogger(__name__)

SAMPLE = 24  # studies read: medians settle early, reading does not get cheaper


@dataclass(frozen=True)
class Fingerprint:
    """Of the sample.

    Attributes:
        spacing: median mm along R, A, S. extent: median mm of the whole volume. slices: median count of voxels.
        darkest: median of the studies' darkest intensities. channels: 3 if one of them is coloured, else 1.
        pictures: most are pictures.
        foreground: intensities of labelled voxels, all studies together.
    """

    spacing: np.ndarray
    extent: np.ndarray
    slices: np.ndarray
    darkest: float
    channels: int
    pictures: bool
    foreground: np.ndarray


def measure(
    cases: Sequence[Case], labels: LabelMap, with_foreground: bool = True, modality: str | None = None
) -> Fingerprint:
    """The fingerprint of the first readable cases, labelled ones first.

    Args:
        with_foreground: read the labels of volumes too.
        modality: measure this series of each patient, who all have it; None: the case's image.

    Raises:
        NotReadyError: not one study is readable.
    """
    spacings, shapes, darkest, channels, foreground, pictures = [], [], [], [], [], []
    for case in sorted(cases, key=lambda case: (case.label is None, case.id)):
        file = case.modalities[modality] if modality else case.image
        try:
            case.usable()
            image, affine = read_image(file)
        except StudyError as error:
            log.warning("%s It does not count for the plan.", error)
            continue
        turned, spacing, _ = to_ras(image[0], affine)
        finite = image[np.isfinite(image)]
        spacings.append(spacing)
        shapes.append(turned.shape)
        darkest.append(np.percentile(finite, 0.5) if finite.size else 0.0)
        channels.append(len(image))
        pictures.append(is_picture(file))
        if with_foreground and case.label and not pictures[-1]:
            foreground.append(_foreground(case, file, labels, image[0], affine))
        if len(spacings) == SAMPLE:
            break
    if not spacings:
        raise NotReadyError("Not one study can be read; the log names each with the reason")
    if len(set(pictures)) > 1:
        log.warning("There are volumes and pictures among the studies; the plan is that of the more frequent kind")
    return Fingerprint(
        np.median(spacings, axis=0),
        np.median(np.array(shapes) * np.array(spacings), axis=0),
        np.median(shapes, axis=0),
        float(np.median(darkest)),
        max(channels),
        sum(pictures) * 2 > len(pictures),
        np.concatenate([*foreground, np.empty(0, dtype=np.float32)]),
    )


def _foreground(case: Case, file: Path, labels: LabelMap, array: np.ndarray, affine: np.ndarray) -> np.ndarray:
    try:
        return array[label_on(case, file, labels, array.shape, affine) > 0].astype(np.float32)[::7]
    except StudyError as error:
        log.warning("%s Its label does not count for the plan.", error)
        return np.empty(0, dtype=np.float32)
