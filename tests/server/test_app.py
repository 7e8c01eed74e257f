"""The app that MONAI Label holds: what it tells its clients, and where it differs from the library."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import requests
from monailabel.interfaces.app import MONAILabelApp

from lib.config import STRATEGIES
from lib.errors import ConfigError, NotFoundError, NotReadyError, SemisegError
from lib.server.app import SemisegApp
from lib.server.metrics import Measured
from lib.training.model_folder import ModelFolder

ROOT = Path(__file__).parents[2]


def test_clients_get_all_they_read(app: SemisegApp, publish: Callable[..., str]) -> None:
    before = app.info()
    assert before["labels"] == ["organ", "lesion"]
    assert before["models"] == {}
    publish()
    info = app.info()
    assert info["models"]["semiseg"]["type"] == "segmentation"
    for part in ("models", "trainers", "strategies", "scoring"):
        assert info[part]
        assert all(isinstance(item["config"], dict) for item in info[part].values())
    assert list(info["strategies"]) == list(STRATEGIES)
    assert info["train_stats"] == {}
    assert (info["datastore"]["completed"], info["datastore"]["total"]) == (3, 6)


def test_labels_are_an_array_also_before_anyone_has_named_them(app: SemisegApp, studies: Path) -> None:
    (studies / "dataset.json").unlink()
    assert app.info()["labels"] == []


def test_a_study_is_segmented_and_its_label_kept_if_asked(app: SemisegApp, publish: Callable[..., str]) -> None:
    publish()
    result = app.infer({"model": "semiseg", "image": "phantom_004"})
    assert result["label"] == result["file"]
    assert "original" not in app.datastore().get_labels_by_image_id("phantom_004")
    kept = app.infer({"model": "semiseg", "image": "phantom_004", "save_label": True})
    assert kept["label"] == "phantom_004"
    info = app.datastore().get_label_info("phantom_004", "original")
    assert info["label_info"] == [{"name": "organ", "idx": 1}, {"name": "lesion", "idx": 2}]
    assert info["params"]["label_names"] == {"organ": 1, "lesion": 2}  # 3D Slicer reads it here
    with pytest.raises(ConfigError, match="uncertainty"):
        app.infer({"model": "semiseg", "image": "phantom_004", "save_label": True, "uncertainty": True})
    for file in (result["file"], kept["file"]):
        Path(file).unlink()


def test_a_bad_study_does_not_end_a_batch(app: SemisegApp, publish: Callable[..., str], studies: Path) -> None:
    publish()
    (studies / "phantom_004.nii.gz").write_bytes(b"garbage")
    answer = app.batch_infer({"model": "semiseg", "images": "unlabeled", "multi_gpu": False, "max_workers": 1})
    assert "phantom_004" in answer["phantom_004"]["error"]
    assert answer["phantom_003"]["label"] == "phantom_003"
    assert "original" in app.datastore().get_labels_by_image_id("phantom_005")


def test_names_that_do_not_exist(app: SemisegApp, publish: Callable[..., str]) -> None:
    publish()
    for ask in (
        lambda: app.infer({"model": "other", "image": "phantom_000"}),
        lambda: app.infer({"model": "semiseg", "image": "other"}),
        lambda: app.infer({"model": "semiseg"}),
        lambda: app.next_sample({"strategy": "other"}),
        lambda: app.scoring({"method": "other"}),
        lambda: app.task("training", "other"),
        lambda: app.model_file("other"),
    ):
        with pytest.raises(NotFoundError, match="There is no"):
            ask()


def test_the_next_study_comes_with_its_path(app: SemisegApp, studies: Path) -> None:
    chosen = app.next_sample({"strategy": ""})
    assert chosen["path"] == str(studies / f"{chosen['id']}.nii.gz")
    for study in app.datastore().get_unlabeled_images():
        app.datastore().remove_image(study)
    assert app.next_sample({"strategy": "random"}) == {}


def test_a_study_that_was_deleted_a_moment_ago_is_not_offered(app: SemisegApp, studies: Path) -> None:
    waiting = app.datastore().get_unlabeled_images()
    for study in waiting[1:]:  # nothing tells the datastore: this app watches no folder
        (studies / f"{study}.nii.gz").unlink()
    chosen = {app.next_sample({"strategy": "random", "seed": seed, "client_id": "a"})["id"] for seed in range(5)}
    assert chosen == {waiting[0]}
    assert [lease.study for lease in app.scores.leases.open()] == [waiting[0]]
    (studies / f"{waiting[0]}.nii.gz").unlink()
    assert app.next_sample({"strategy": "random"}) == {}


def test_the_live_model_is_downloaded(app: SemisegApp, publish: Callable[..., str], folder: ModelFolder) -> None:
    publish()
    assert app.model_file("semiseg") == str(folder.path / "live.pt")
    with pytest.raises(NotFoundError, match="other"):
        app.model_file("other")


def test_after_a_training_the_studies_are_scored_in_the_server_or_else_here(
    app: SemisegApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []
    status = ["done"]

    def unreachable(method: str) -> None:
        raise requests.ConnectionError("no server")

    monkeypatch.setitem(app._trainers, "semiseg", lambda request, datastore: {"version": "0001", "status": status[0]})
    monkeypatch.setattr(app, "scoring", lambda request: calls.append(request))
    monkeypatch.setattr(app, "async_scoring", lambda method: calls.append(method) or {"status": "SUBMITTED"})
    assert app.train({"model": "semiseg"})["version"] == "0001"
    assert calls == ["uncertainty"]
    monkeypatch.setattr(app, "async_scoring", unreachable)
    app.train({"model": "semiseg"})
    assert calls == ["uncertainty", {"method": "uncertainty"}]
    status[0] = "stopped"
    app.train({"model": "semiseg"})  # its server is about to end, and its time with it
    assert len(calls) == 2
    monkeypatch.setitem(app._trainers, "semiseg", lambda request, datastore: {"version": None})
    app.train({"model": "semiseg"})  # the live model stays, and its scores with it
    assert len(calls) == 2


def test_the_answer_to_a_label_says_that_it_was_resampled(app: SemisegApp, monkeypatch: pytest.MonkeyPatch) -> None:
    assert app.on_save_label("phantom_001", "phantom_001") == {}
    store = app.datastore()
    monkeypatch.setattr(store, "get_labels_by_image_id", lambda _: {"original": "phantom_001", "final": "phantom_001"})
    infos = {"final": {"stamp": "2", "note": "Resampled"}, "original": {"stamp": "1"}}
    monkeypatch.setattr(store, "get_label_info", lambda label, tag: infos[tag])
    assert app.on_save_label("phantom_001", "phantom_001") == {"note": "Resampled"}
    infos["original"]["stamp"] = "3"  # it is the one that was stored last
    assert app.on_save_label("phantom_001", "phantom_001") == {}


def test_a_server_gets_its_layers_and_starts_nothing_unasked(app: SemisegApp, monkeypatch: pytest.MonkeyPatch) -> None:
    from monailabel.app import app as server

    monkeypatch.setattr("monailabel.interfaces.app.Timeloop", MagicMock())
    monkeypatch.setattr(app, "async_scoring", lambda method: pytest.fail("scoring was started"))
    monkeypatch.setattr(server, "middleware_stack", None)
    monkeypatch.setattr(server, "exception_handlers", dict(server.exception_handlers))
    monkeypatch.setattr(server.router, "routes", list(server.router.routes))
    app.on_init_complete()
    assert isinstance(server.middleware_stack, Measured)
    assert SemisegError in server.exception_handlers
    app.next_sample({"strategy": "random"})


def test_in_a_tasks_own_process_the_reason_is_the_last_line(app: SemisegApp) -> None:
    app.server_mode(True)
    with pytest.raises(NotReadyError):
        app.scoring({"method": "dice"})
    app.server_mode(False)
    with pytest.raises(SystemExit, match="no model yet"):
        app.scoring({"method": "dice"})


def test_monai_label_finds_the_app_and_the_command_line_does_without_it() -> None:
    file = ROOT / "apps" / "semiseg" / "main.py"
    spec = importlib.util.spec_from_file_location("main", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    apps = [item for item in vars(module).values() if isinstance(item, type) and MONAILabelApp in item.__bases__]
    assert [item.__name__ for item in apps] == ["SemisegApp"]
    script = "import runpy, sys; sys.argv = ['main.py', '--help']\n"
    script += f"try: runpy.run_path({str(file)!r}, run_name='__main__')\nexcept SystemExit: pass\n"
    script += "assert 'monailabel' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
