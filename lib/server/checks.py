"""What a client may store: names without a path in them, images that can be read, labels that can be learnt from."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lib.config import Config
from lib.dicom import volume_file
from lib.errors import NotReadyError, StudyError
from lib.studies.cases import EXTENSIONS, SPELLINGS, Case, is_picture
from lib.studies.labels import LabelMap, label_map, read_label
from lib.studies.reading import read_image, read_volume
from lib.studies.regrid import onto_grid

NAME = re.compile(r"[^./\\\x00-\x1f][^/\\\x00-\x1f]{0,199}")  # MONAI Label joins ids and tags to paths unchecked


def check_name(kind: str, name: str) -> None:
    """An id or tag becomes part of a file's path: it must not lead anywhere else.

    Raises:
        StudyError: empty, longer than 200 characters, hidden, or with a separator in it.
    """
    if not NAME.fullmatch(name):
        remedy = "Use a name without / and \\ that does not begin with a dot"
        raise StudyError(name[:60], f"this is not a possible {kind}", remedy)


def check_image(study: str, file: Path) -> None:
    """An image that is about to be added.

    Raises:
        StudyError: not one of the file types, or unreadable.
    """
    _check_type(study, file)
    with _naming(study, file):
        read_image(file)


def check_label(case: Case, config: Config, studies: Path, others: Sequence[Case], scratch: Path) -> tuple[Case, str]:
    """A label that is about to be submitted. An empty one is fine: reviewed, nothing there.

    Args:
        case: the study with the submitted file as its label and the submitter's names of its values.
        others: the other studies; they may have named classes too.
        scratch: an empty folder, for a label that has to be resampled.

    Returns:
        The case with its label on the grid of its image: the submitted file, or one in ``scratch``, and what was done
        to it, in words; empty if nothing was.

    Raises:
        StudyError: unreadable, no label of this image, or a value that no name maps.
        NotReadyError: it holds values, and nobody has named any class yet.
    """
    assert case.label is not None
    submitted = case.label
    _check_type(case.id, submitted)
    with _naming(case.id, case.image):
        image, affine = read_image(case.image)
    shape = image.shape[1:]
    del image
    with _naming(case.id, submitted):
        array, own = read_volume(submitted)
        moved = None if is_picture(case.image) else onto_grid(case.id, array, own, shape, affine)
    if moved:
        case = dataclasses.replace(case, label=scratch / f"{case.id}.nii.gz")
        volume_file.save(case.label, moved[0], affine)  # type: ignore[arg-type]
    try:
        labels = label_map(config, studies, [*others, case])
    except NotReadyError:
        if array.any():
            raise
        labels = LabelMap({})
    with _naming(case.id, submitted):
        read_label(case, labels, shape, affine)
    return case, moved[1] if moved else ""


def numbered(
    case: Case, config: Config, studies: Path, others: Sequence[Case]
) -> tuple[Mapping[int, str], NDArray[np.uint8], NDArray]:
    """A checked label as DICOM numbers its segments: 1, 2, ... where the settings do not fix the values.

    Returns:
        Value -> name of all classes, the array ``(X, Y, Z)`` in these values on the image's grid, its 4x4 affine.
    """
    labels = label_map(config, studies, [*others, case])
    voxels, affine = read_image(case.image)
    array = read_label(case, labels, voxels.shape[1:], affine)
    if not config.labels:
        labels = LabelMap(dict(enumerate(labels.names, 1)))
    return labels.values, labels.to_values(array), affine


def _check_type(study: str, file: Path) -> None:
    if not file.name.endswith(SPELLINGS):
        kind = file.suffix or "without an ending"
        raise StudyError(study, f"files of the type '{kind}' are not read", f"Use one of {', '.join(EXTENSIONS)}")


@contextmanager
def _naming(study: str, file: Path) -> Iterator[None]:
    """Sentences that name the study instead of an upload's temporary file."""
    try:
        yield
    except StudyError as error:
        raise StudyError(study, error.cause.replace(file.name, "the file"), error.remedy) from error
