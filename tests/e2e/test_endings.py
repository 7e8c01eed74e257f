"""How a server and its trainings end when nobody asked them nicely: wrong settings, Stop, a server that was killed."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lib.studies.phantoms import write_studies
from lib.training.model_folder import ModelFolder

LONG = {"iterations": 100_000, "size": "small", "validations": 1}


def wait_until(true: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.2)


def test_wrong_settings_end_the_start_with_one_sentence(start_server: Callable[..., Any], tmp_path: Path) -> None:
    server = start_server(tmp_path / "studies", tmp_path, iteration=5)
    assert server.process.wait(120) == 2
    log = server.log.read_text()
    assert "semiseg cannot start: Setting 'iteration' is unknown; did you mean 'iterations'?" in log
    assert "Traceback" not in log


def test_a_training_is_stopped_also_when_its_server_was_killed(
    start_server: Callable[..., Any], tmp_path: Path
) -> None:
    write_studies(tmp_path / "studies", 4, 2, shape=(24, 24, 16))
    conf = {"model": tmp_path / "model", "patch": "16,16,16", "workers": 0, "threads": 1}
    server = start_server(tmp_path / "studies", tmp_path, **conf).wait_until_ready()

    def stats() -> dict[str, Any]:
        return server.get("/info/")["train_stats"]["semiseg"]

    def under_way() -> bool:
        return stats()["stage"] == "training" and "total_time" not in stats()

    server.post("/train/semiseg", LONG)
    assert "total_time" not in stats()
    wait_until(under_way)
    assert "under way" in server.post("/train/semiseg", LONG, status=409)["detail"]
    assert server.delete("/train/")["status"] == "STOPPING"
    wait_until(lambda: "total_time" in stats())
    assert stats()["status"] == "stopped"
    assert "published" in stats()["reason"]  # it was asked, not killed
    wait_until(lambda: server.get("/train/")["status"] == "STOPPED")
    step = stats()["step"]
    assert 0 < step < LONG["iterations"]

    server.post("/train/semiseg", LONG)
    wait_until(under_way)
    assert stats()["step"] >= step  # it goes on from there
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait()
    server = start_server(tmp_path / "studies", tmp_path, **conf).wait_until_ready()
    seen = stats()["epoch"]
    wait_until(lambda: stats()["epoch"] > seen)
    assert "under way" in server.post("/train/semiseg", LONG, status=409)["detail"]
    assert server.get("/train/", check_if_running="true")["status"] == "RUNNING"
    assert server.delete("/train/")["status"] == "STOPPING"
    wait_until(lambda: "total_time" in stats())
    assert stats()["status"] == "stopped"
    assert "published" in stats()["reason"]


def test_a_server_that_is_asked_to_end_lets_its_training_save_what_it_has(
    start_server: Callable[..., Any], tmp_path: Path
) -> None:
    write_studies(tmp_path / "studies", 4, 2, shape=(24, 24, 16))
    conf = {"model": tmp_path / "model", "patch": "16,16,16", "workers": 0, "threads": 1}
    server = start_server(tmp_path / "studies", tmp_path, **conf).wait_until_ready()
    server.post("/train/semiseg", LONG)
    wait_until(lambda: server.get("/info/")["train_stats"]["semiseg"]["stage"] == "training")
    os.kill(server.process.pid, signal.SIGTERM)
    server.process.wait(150)  # it waits for its training: in a container that would end with it
    assert not ModelFolder(tmp_path / "model").locked("training")
    (run,) = (tmp_path / "model" / "runs").iterdir()
    assert json.loads((run / "manifest.json").read_text())["status"] == "stopped"
    assert ModelFolder(tmp_path / "model").live
