"""The stats that both clients read: ``total_time`` means ended, ``epoch`` of ``total_epochs`` is the bar."""

from __future__ import annotations

import json
import multiprocessing
import time
from typing import Any

import pytest

from lib.server import train_stats
from lib.server.train_stats import TrainStats
from lib.training.model_folder import ModelFolder
from lib.training.progress import Progress


@pytest.fixture
def stats(folder: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> TrainStats:
    monkeypatch.setattr(train_stats, "INTERVAL", 0.0)
    return TrainStats(folder)


def test_a_training_from_beginning_to_end(stats: TrainStats) -> None:
    assert stats.read() == {}
    stats.begin("supervised")
    assert "total_time" not in stats.read()
    bars = []
    for step in (0, 5, 20, 100):
        stats(Progress("training", step, 100, {"loss": 1.0}, 0.5, 0.6, 3.0, ("Label more",)))
        now = stats.read()
        bars.append((now["epoch"], now["total_epochs"]))
        assert "total_time" not in now
    assert bars == [(0.01, 2), (0.1, 2), (0.4, 2), (2.0, 2)]  # OHIF takes epoch 0 for 1
    assert now["best_metric"] == 0.6
    assert now["warnings"] == ["Label more"]
    stats.end("done", "Dice 0.6", version="0001")
    assert stats.read()["total_time"].startswith("0:00:0")
    assert stats.read()["version"] == "0001"


def test_a_new_training_removes_the_end_of_the_last_one_and_keeps_its_accuracy(stats: TrainStats) -> None:
    stats.begin("supervised")
    stats(Progress("training", 1, 10, best=0.7))
    stats.end("done", "")
    stats.begin("supervised")
    assert "total_time" not in stats.read()
    assert stats.read()["best_metric"] == 0.7


def test_numbers_that_are_no_json_become_null(stats: TrainStats) -> None:
    stats.begin("supervised")
    stats(Progress("training", 1, 10, {"loss": float("nan")}, metric=float("inf")))
    json.loads(stats.file.read_text(), parse_constant=pytest.fail)
    assert stats.read()["losses"] == {"loss": None}


def test_few_writes_while_only_the_step_changes(stats: TrainStats, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_stats, "INTERVAL", 1e9)
    stats.begin("supervised")
    stats(Progress("training", 5, 10))
    assert stats.read()["epoch"] == 0.01
    stats(Progress("ended", 10, 10))
    assert stats.read()["epoch"] == 1


def hold(folder: ModelFolder, held: Any) -> None:
    with folder.lock("training"):
        held.set()
        time.sleep(60)


def test_the_lock_of_another_process_is_seen_until_that_process_dies(stats: TrainStats, folder: ModelFolder) -> None:
    assert not stats.locked()
    fork = multiprocessing.get_context("fork")
    held = fork.Event()
    other = fork.Process(target=hold, args=(folder, held))
    other.start()
    assert held.wait(20)
    assert stats.locked()
    other.kill()
    other.join()
    assert not stats.locked()
