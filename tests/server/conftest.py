"""A project to serve: studies of phantoms, and a model that was never trained but is published."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from monailabel.config import settings

from lib.config import Config
from lib.inference.model_file import Model
from lib.methods.registry import build_method
from lib.server.app import SemisegApp
from lib.server.datastore import FolderDatastore
from lib.server.live import LiveModel
from lib.studies.labels import LabelMap
from lib.studies.plan import Plan
from lib.training.model_folder import ModelFolder
from tests.dicom.conftest import label, no_pause, orthanc_server, server, upload, web  # noqa: F401  the same Orthanc and series for both rooms

LABELS = LabelMap({1: "organ", 2: "lesion"})
INFO = [{"name": "organ", "idx": 1}, {"name": "lesion", "idx": 2}]
PATCH = (16, 16, 16)


@pytest.fixture
def config() -> Config:
    return Config(size="small", patch=PATCH, precision="fp32", device="cpu", workers=0)


@pytest.fixture
def datastore(studies: Path, config: Config) -> FolderDatastore:
    """The phantoms ``phantom_000`` to ``phantom_005``, of which the first three are labelled."""
    return FolderDatastore(str(studies), config)


@pytest.fixture
def unnamed(studies: Path, config: Config) -> FolderDatastore:
    """The same studies without labels and without anyone who names the classes."""
    (studies / "dataset.json").unlink()
    for file in (studies / "labels" / "final").iterdir():
        file.rename(studies.parent / file.name)
    return FolderDatastore(str(studies), config)


@pytest.fixture
def folder(tmp_path: Path) -> ModelFolder:
    return ModelFolder(tmp_path / "model")


@pytest.fixture
def publish(folder: ModelFolder, config: Config) -> Callable[..., str]:
    """Publishes a model with random weights of this seed."""

    def published(seed: int = 0) -> str:
        torch.manual_seed(seed)
        method = build_method(config, 1, len(LABELS.names) + 1, PATCH)
        model = Model(config, Plan((3.0, 3.0, 5.0), "mr", PATCH), LABELS, method.state_dict())
        return folder.publish(model, keep=3)

    return published


@pytest.fixture
def live(folder: ModelFolder, config: Config) -> LiveModel:
    """Nothing is published yet."""
    return LiveModel(folder.path / "live.pt", config)


def index(datastore: FolderDatastore) -> dict:
    """What ``datastore_v2.json`` says of each study."""
    return json.loads(Path(datastore._datastore_config_path).read_text())["objects"]


@pytest.fixture
def app(studies: Path, folder: ModelFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SemisegApp:
    """The app as the server makes it, with its training and background tasks out of reach."""
    monkeypatch.setattr(settings, "MONAI_LABEL_DATASTORE_AUTO_RELOAD", False)
    monkeypatch.setattr(settings, "MONAI_LABEL_SESSION_PATH", str(tmp_path / "sessions"))
    monkeypatch.setattr("lib.server.training.tasks", lambda _: [])
    conf = {"model": str(folder.path), "patch": "16,16,16", "size": "small", "precision": "fp32", "server_mode": "true"}
    return SemisegApp(str(tmp_path), str(studies), conf)
