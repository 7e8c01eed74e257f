"""A case: one study with its image, its label if it has one, and which side of the split it is on."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lib.errors import NotFoundError

log = logging.getLogger(__name__)

EXTENSIONS = (".nii.gz", ".nii", ".nrrd")
TRAINING, VALIDATION, UNLABELLED = "training", "validation", "unlabelled"


@dataclass(frozen=True)
class Case:
    """A study as training, validation and scoring see it.

    Attributes:
        id: the file's name without its extension, as MONAI Label has it.
        image: the image's file.
        label: the file of its final label, if it has one.
        values: meaning of the values in that file, where its submitter said so (``label_info``).
        side: ``training``, ``validation`` or ``unlabelled``.
    """

    id: str
    image: Path
    label: Path | None = None
    values: Mapping[int, str] | None = None
    side: str = UNLABELLED

    def on(self, side: str) -> Case:
        """The same case on another side of the split."""
        return dataclasses.replace(self, side=side)


def study_id(path: Path | str) -> str:
    """The file's name without its extension (``.nii.gz`` counts as one)."""
    name = Path(path).name
    return next((name[: -len(end)] for end in EXTENSIONS if name.endswith(end)), Path(name).stem)


def find_cases(studies: Path | str) -> list[Case]:
    """All studies of a folder: images directly in it, final labels in ``labels/final/`` under the same id.

    What is no readable image (a folder named ``x.nii.gz``, a broken file) is listed too: whoever reads it
    gets the ``StudyError`` that says why, so that it is reported instead of overlooked.

    Raises:
        NotFoundError: the folder does not exist.
    """
    folder = Path(studies)
    if not folder.is_dir():
        raise NotFoundError(f"The studies folder {folder} does not exist")
    labels = _images(folder / "labels" / "final")
    infos = _label_infos(folder)
    return [
        Case(key, image, labels.get(key), infos.get(key) if key in labels else None)
        for key, image in _images(folder).items()
    ]


def values_of(label_info: object) -> dict[int, str] | None:
    """``[{"name": "liver", "idx": 1}, ...]``, as 3D Slicer submits it, as value -> name; None if it says nothing."""
    named: dict[int, str] = {}
    for item in label_info if isinstance(label_info, list) else []:
        try:
            named[int(item["idx"])] = str(item["name"])
        except (TypeError, KeyError, ValueError):
            continue
    return named or None


def _images(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    found = (
        path for path in sorted(folder.iterdir()) if path.name.endswith(EXTENSIONS) and not path.name.startswith(".")
    )
    images: dict[str, Path] = {}
    for path in found:
        if study_id(path) in images:
            log.warning(
                "Study '%s' has two files; %s is used, not %s", study_id(path), images[study_id(path)].name, path.name
            )
        images.setdefault(study_id(path), path)
    return images


def _label_infos(folder: Path) -> dict[str, dict[int, str] | None]:
    """Label infos that clients sent, from MONAI Label's index of the folder; unreadable or absent means none."""
    try:
        objects = json.loads((folder / "datastore_v2.json").read_text())["objects"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    return {study: values_of(_deep(item, "labels", "final", "info", "label_info")) for study, item in objects}


def _deep(item: object, *keys: str) -> object:
    for key in keys:
        item = item.get(key) if isinstance(item, dict) else None
    return item
