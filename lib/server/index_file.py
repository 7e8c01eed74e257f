"""MONAI Label's index ``datastore_v2.json`` as it is found at the start: whole, or mended.

The library ends with a traceback over a truncated one, and over an entry of a wrong type.
"""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

from monailabel.datastore.local import ImageLabelModel, LocalDatastoreModel
from pydantic import ValidationError

from lib.errors import StudyError
from lib.files import write_whole
from lib.server.checks import check_name
from lib.studies.cases import SPELLINGS

logger = logging.getLogger(__name__)


def mend_index(index: Path) -> None:
    """Set a damaged index aside under another name; the entries of it that can be read are kept.

    The others are made anew from the files, and the infos of labels found in their history. Of images those that
    clients have noted are lost.
    """
    try:
        content = index.read_bytes()
    except FileNotFoundError:
        return
    try:
        found = LocalDatastoreModel.model_validate_json(content)
        if all(_sound(study, item) for study, item in found.objects.items()) and _usual(found):
            return
    except ValidationError:
        pass
    aside = index.with_name(f"{index.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
    index.replace(aside)
    objects = _salvaged(content)
    if objects:
        about = {"name": "new-dataset", "description": "New Dataset", "images_dir": ".", "labels_dir": "labels"}
        write_whole(index, json.dumps(about | {"objects": objects}, indent=2))
    logger.error(
        "%s was damaged and is now %s: %d of its entries could be read, all others are made anew from the files",
        index, aside.name, len(objects),
    )  # fmt: skip


def _salvaged(content: bytes) -> dict[str, Any]:
    try:
        objects = json.loads(content)["objects"].items()
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
    kept = {}
    for study, item in objects:
        try:
            entry = ImageLabelModel.model_validate(item)
        except ValidationError:
            continue
        if _sound(study, entry):
            kept[study] = entry.model_dump()
    return kept


def _usual(found: LocalDatastoreModel) -> bool:
    """Only the folders that this app uses: the library would follow any others."""
    return found.images_dir in (".", "") and found.labels_dir == "labels"


def _sound(study: str, item: ImageLabelModel) -> bool:
    """Whether its names and endings lead to files of the studies folder only."""
    try:
        for name in (study, *item.labels):
            check_name("name in an index", name)
    except StudyError:
        return False
    return {item.image.ext, *(label.ext for label in item.labels.values())} <= set(SPELLINGS)
