"""Every method trains over HTTP and segments: volumes, pictures, and patients with two modalities."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib.config import METHODS
from lib.studies.phantom_patients import write_patients
from lib.studies.phantom_pictures import write_pictures
from lib.studies.phantoms import write_studies

FEW = {"iterations": 4, "size": "small", "validations": 1, "batch_labelled": 2, "batch_unlabelled": 2}
CONF = {"threads": 1, "workers": 0, "validation": 0, "pretrained": "false", "score_minutes": 0}
Start = Callable[..., Any]


def train(server: Any, folder: Path, **settings: Any) -> dict[str, Any]:
    """Press Train and wait for the end: the manifest of the run."""
    assert server.post("/train/semiseg", FEW | settings)["status"] in ("SUBMITTED", "RUNNING")
    end = time.monotonic() + 200
    while (status := server.get("/train/")["status"]) in ("SUBMITTED", "RUNNING"):
        assert time.monotonic() < end, server.get("/info/")["train_stats"]
        time.sleep(0.3)
    assert status == "DONE", server.get("/train/")
    newest = max((folder / "model" / "runs").glob("*/manifest.json"), key=lambda file: file.stat().st_mtime)
    return json.loads(newest.read_text())


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory, start_server: Start) -> tuple[Any, Path, list[str]]:
    folder = tmp_path_factory.mktemp("volumes")
    ids = write_studies(folder / "studies", 5, 3, shape=(24, 24, 16))
    conf = CONF | {"model": folder / "model", "patch": "16,16,16"}
    return start_server(folder / "studies", folder, **conf).wait_until_ready(), folder, ids


@pytest.mark.parametrize("method", [name for name in METHODS if name != "semi_cml"])
def test_a_method_trains_and_segments(method: str, volumes: tuple[Any, Path, list[str]]) -> None:
    server, folder, ids = volumes
    manifest = train(server, folder, method=method)
    assert manifest["method"] == method
    assert manifest["status"] == "finished"
    assert bool(manifest.get("pretraining")) == (method == "ideal")
    answer = server.infer(ids[-1], output="json").json()
    assert answer["label_names"] == {"organ": 1, "lesion": 2}


def test_a_method_that_needs_two_modalities_says_so_before_it_starts(volumes: tuple[Any, Path, list[str]]) -> None:
    answer = volumes[0].post("/train/semiseg", FEW | {"method": "semi_cml"}, status=400)
    assert "modalities" in answer["detail"]


def test_a_wrong_method_is_answered_with_the_right_ones(volumes: tuple[Any, Path, list[str]]) -> None:
    answer = volumes[0].post("/train/semiseg", FEW | {"method": "multi_scale"}, status=400)
    assert all(name in answer["detail"] for name in METHODS)


def test_patients_with_two_modalities_are_learnt_from_and_segmented_by_each(
    tmp_path_factory: pytest.TempPathFactory, start_server: Start
) -> None:
    folder = tmp_path_factory.mktemp("patients")
    ids = write_patients(folder / "studies", 7, 5, missing={6: ["mr"]})
    conf = CONF | {"model": folder / "model", "patch": "16,16,8", "modalities": "ct,mr", "method": "semi_cml"}
    server = start_server(folder / "studies", folder, **conf).wait_until_ready()
    assert train(server, folder)["method"] == "semi_cml"
    for series in (f"{ids[5]}_ct", f"{ids[5]}_mr", f"{ids[6]}_ct"):
        assert server.infer(series, output="json").json()["label_names"] == {"organ": 1, "lesion": 2}
    offered = server.post("/activelearning/uncertainty")["id"]
    assert offered.rsplit("_", 1)[0] in ids[5:]


def test_pictures_are_learnt_from_and_segmented(tmp_path_factory: pytest.TempPathFactory, start_server: Start) -> None:
    folder = tmp_path_factory.mktemp("pictures")
    ids = write_pictures(folder / "studies", 6, 3)
    conf = CONF | {"model": folder / "model", "patch": "32,32", "method": "cross_level"}
    server = start_server(folder / "studies", folder, **conf).wait_until_ready()
    manifest = train(server, folder)
    assert (manifest["plan"]["dimension"], manifest["plan"]["channels"]) == (2, 3)
    found = Image.open(io.BytesIO(server.infer(ids[-1]).content))
    assert found.size == Image.open(next((folder / "studies").glob(f"{ids[-1]}.*"))).size
    assert set(np.unique(np.asarray(found))) <= {0, 1, 2}
