"""The record that lies beside each training: what went in, how it went, what came out."""

from __future__ import annotations

import json
import logging
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lib.config import Config
from lib.files import write_whole
from lib.training.model_folder import MANIFEST
from lib.training.prepare import Studies

log = logging.getLogger(__name__)

PACKAGES = ("torch", "monai", "pytorch-ignite", "numpy", "nibabel", "monailabel")


class Manifest:
    """A JSON file that is whole at every moment."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / MANIFEST
        self.values = _read(self.file)

    def update(self, **values: Any) -> None:
        """Add or change entries and write the file."""
        self.values |= values
        write_whole(self.file, json.dumps(self.values, indent=1, default=str))


def _read(file: Path) -> dict[str, Any]:
    """One that is damaged, by another program or a failing disk, must not keep later trainings from starting."""
    try:
        return dict(json.loads(file.read_text()))
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError) as error:
        log.warning("%s is damaged (%s): that training cannot be resumed", file, error)
        return {}


def described(studies: Studies, config: Config) -> dict[str, Any]:
    """What a training learns from, and how it looks at it."""
    sides = {"training": studies.training, "validation": studies.validation, "unlabelled": studies.unlabelled}
    return {
        "plan": studies.cache.preprocess.plan.to_dict(),
        "batch": studies.batch(config),
        "labels": dict(studies.cache.labels.values),
        "cases": {side: [case.id for case in cases] for side, cases in sides.items()},
        "voxels": studies.voxels,
        "skipped": studies.skipped,
    }


def environment() -> dict[str, Any]:
    """Versions and machine, for whoever wants to repeat the run."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "packages": {name: version(name) for name in PACKAGES},
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
