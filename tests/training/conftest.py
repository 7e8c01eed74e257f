"""A project of tiny studies and networks, on which a training of a few iterations takes well below a second."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from lib.config import Config
from lib.networks import factory
from lib.studies.cases import Case, find_cases
from lib.studies.labels import LabelMap, label_map
from lib.studies.phantoms import write_studies
from lib.training.loop import Loop
from lib.training.model_folder import ModelFolder
from lib.training.prepare import Studies, prepare
from lib.training.start import initial_method
from lib.training.train import Result, train

TINY = {
    "method": "cross_pseudo",
    "network": "unet",
    "size": "small",
    "patch": (16, 16, 8),
    "iterations": 6,
    "validation": 0.5,  # of phantom_000 to phantom_003 by their hashes: see the test of the split
    "validations": 2,
    "ema": 0.5,
    "overlap": 0.0,
    "precision": "fp32",
    "device": "cpu",
    "workers": 0,
}


@dataclass
class Project:
    """A studies folder and its model folder."""

    studies: Path
    folder: ModelFolder

    @property
    def cases(self) -> list[Case]:
        return find_cases(self.studies)

    @property
    def labels(self) -> LabelMap:
        return label_map(Config(), self.studies)

    def label(self, number: int) -> Path:
        return self.studies / "labels" / "final" / f"phantom_{number:03d}.nii.gz"

    def image(self, number: int) -> Path:
        return self.studies / f"phantom_{number:03d}.nii.gz"

    def config(self, **settings: Any) -> Config:
        return tiny(**settings)

    def train(self, progress: Callable | None = None, should_stop: Callable | None = None, **settings: Any) -> Result:
        return train(self.cases, self.labels, tiny(**settings), self.folder, progress, should_stop)

    def prepared(self, **settings: Any) -> Studies:
        return prepare(self.cases, self.labels, tiny(**settings), self.folder, None, "cpu", lambda: None)

    def loop(self, **settings: Any) -> Loop:
        """A loop from nothing over all that these settings ask for."""
        config, studies = tiny(**settings), self.prepared(**settings)
        method = initial_method(config, 3, studies.cache.preprocess.plan, None)
        patches = studies.patches(config, method.strong_views, config.iterations, 0, 1)
        return Loop(method, patches, config, config.iterations, torch.device("cpu"))

    def manifest(self, result: Result | None = None) -> dict[str, Any]:
        """Of this training, or of the latest one."""
        file = result.manifest if result else sorted(self.folder.runs.glob("*/manifest.json"))[-1]
        return json.loads(file.read_text())


def tiny(**settings: Any) -> Config:
    """Settings of a training of six iterations on one thread, in fp32 so that it can be repeated bit for bit."""
    if settings.keys() & {"epochs", "minutes"}:
        settings = {"iterations": 0} | settings
    return Config(**(TINY | settings))


@pytest.fixture(autouse=True)
def thin_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks of a few hundred weights under the name ``small``."""
    monkeypatch.setitem(factory.WIDTHS, "small", (4, 8, 8))


@pytest.fixture(scope="session")
def tiny_studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven studies of 24 x 24 x 12 voxels, the first four labelled. Only to be read."""
    folder = tmp_path_factory.mktemp("tiny") / "studies"
    write_studies(folder, count=7, labelled=4, shape=(24, 24, 12), spacing=(3.0, 3.0, 5.0))
    return folder


@pytest.fixture
def project(tiny_studies: Path, tmp_path: Path) -> Project:
    return Project(shutil.copytree(tiny_studies, tmp_path / "studies"), ModelFolder(tmp_path / "model"))
