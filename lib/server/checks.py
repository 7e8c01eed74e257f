"""What a client may store: names without a path in them, images that can be read, labels that can be learnt from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lib.config import Config
from lib.errors import NotReadyError, StudyError
from lib.studies.cases import EXTENSIONS, SPELLINGS, Case
from lib.studies.labels import LabelMap, label_map, read_label
from lib.studies.reading import read_image, read_volume

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


def check_label(case: Case, config: Config, studies: Path, others: Sequence[Case]) -> None:
    """A label that is about to be submitted. An empty one is fine: reviewed, nothing there.

    Args:
        case: the study with the submitted file as its label and the submitter's names of its values.
        others: the other studies; they may have named classes too.

    Raises:
        StudyError: unreadable, another shape or grid than the image, or a value that no name maps.
        NotReadyError: it holds values, and nobody has named any class yet.
    """
    assert case.label is not None
    _check_type(case.id, case.label)
    with _naming(case.id, case.image):
        image, affine = read_image(case.image)
    try:
        labels = label_map(config, studies, [*others, case])
    except NotReadyError:
        with _naming(case.id, case.label):
            values, _ = read_volume(case.label)
        if values.any():
            raise
        labels = LabelMap({})
    with _naming(case.id, case.label):
        read_label(case, labels, image.shape[1:], affine)


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
