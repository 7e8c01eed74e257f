"""The train task: what it refuses, what it hands to the training, and what clients read at every kind of ending."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lib.config import Config
from lib.errors import ConfigError, NotReadyError, SemisegError, StudyError
from lib.server import training
from lib.server.datastore import FolderDatastore
from lib.server.stopping import Stop
from lib.server.training import TrainingTask
from lib.training.model_folder import ModelFolder
from lib.training.progress import Progress
from lib.training.train import Result


@pytest.fixture
def task(config: Config, studies: Path, folder: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> TrainingTask:
    monkeypatch.setattr(training, "tasks", lambda _: [])
    return TrainingTask(config, str(studies), folder)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch, task: TrainingTask) -> list[Any]:
    """What a training was given; the training itself only says that it is half way."""
    given: list[Any] = []

    def train(cases: Any, labels: Any, config: Config, folder: ModelFolder, progress: Any, **_: Any) -> Result:
        given.extend([cases, labels, config, folder])
        progress(Progress("validating", 50, 100, {"loss": 1.0}, 0.4, 0.5))
        given.append(task.file.read())
        return Result("0001", 0.5, "Dice 0.5", Path("manifest.json"))

    monkeypatch.setattr(training, "train", train)
    return given


def test_a_training_gets_all_studies_and_its_settings(
    task: TrainingTask, trained: list[Any], datastore: FolderDatastore, studies: Path, config: Config
) -> None:
    (studies / "folder.nii.gz").mkdir()
    answer = task({"model": "semiseg", "epochs": 2, "method": ["supervised"]}, datastore)
    cases, labels, used, _, half_way = trained
    assert sorted(case.id for case in cases) == ["folder", *(f"phantom_00{i}" for i in range(6))]
    assert sum(case.label is not None for case in cases) == 3
    assert labels.names == ("organ", "lesion")
    assert used == config.replace(epochs=2, method="supervised")
    assert (half_way["epoch"], half_way["total_epochs"], half_way["best_metric"]) == (1, 2, 0.5)
    assert "total_time" not in half_way
    assert answer == {
        "version": "0001", "metric": 0.5, "reason": "Dice 0.5", "status": "done", "manifest": "manifest.json",
    }  # fmt: skip
    assert task.stats()["status"] == "done"
    assert "needs 3 trainings" in task.stats()["outlook"]
    assert task.stats()["total_time"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (StudyError("a", "it is bad"), "Study 'a': it is bad."),
        (MemoryError("too big"), "MemoryError: too big"),
        (KeyboardInterrupt(), "KeyboardInterrupt: "),
    ],
)
def test_a_failure_ends_the_stats_with_its_reason(
    task: TrainingTask, datastore: FolderDatastore, monkeypatch: pytest.MonkeyPatch, error: BaseException, reason: str
) -> None:
    def train(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(training, "train", train)
    with pytest.raises(type(error)):
        task({}, datastore)
    assert task.stats()["status"] == "failed"
    assert task.stats()["reason"] == reason
    assert task.stats()["total_time"]


def test_a_training_that_was_killed_is_ended_by_the_server(
    task: TrainingTask, folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    task.begin({})
    monkeypatch.setattr(training, "tasks", lambda _: [{"status": "RUNNING"}])
    assert "total_time" not in task.stats()
    monkeypatch.setattr(training, "tasks", lambda _: [{"status": "STOPPED"}])
    with folder.lock("training"):  # another process still has it
        assert "total_time" not in task.stats()
    assert task.stats()["status"] == "stopped"
    assert task.stats()["total_time"]


def test_two_trainings_over_one_folder_do_not_happen(
    task: TrainingTask,
    folder: ModelFolder,
    datastore: FolderDatastore,
    trained: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with folder.lock("training"):
        stats = task.file.read()
        for start in (lambda: task.check({}, datastore), lambda: task({}, datastore)):
            with pytest.raises(NotReadyError, match="under way"):
                start()
        assert task.file.read() == stats
        task.check({}, datastore, waiting=True)
    assert not trained
    monkeypatch.setattr(training, "tasks", lambda _: [{"status": "SUBMITTED"}])
    with pytest.raises(NotReadyError, match="under way"):
        task.check({}, datastore)


def test_what_cannot_be_trained_is_refused_before_a_process_is_started(
    task: TrainingTask, unnamed: FolderDatastore
) -> None:
    with pytest.raises(NotReadyError, match="labelled"):
        task.check({}, unnamed)
    with pytest.raises(ConfigError, match="epochs"):
        task.check({"epochs": "many"}, unnamed)
    with pytest.raises(ConfigError, match="modalities names none; name them"):
        task.check({"method": "semi_cml"}, unnamed)
    with pytest.raises(ConfigError, match="choose one of: multiscale, ideal, semi_cml, cross_level"):
        task.check({"method": "nonsense"}, unnamed)
    assert task.stats() == {}


def other_process(folder: ModelFolder, held: Any, asked: Any) -> None:
    """A training that an earlier server has started: it holds the lock until it is asked to stop."""
    with folder.lock("training"), Stop(60) as stop:
        held.set()
        while not stop.asked:
            time.sleep(0.01)
    asked.set()


def test_a_leftover_is_found_shown_and_asked_to_stop(task: TrainingTask, folder: ModelFolder) -> None:
    assert task.leftover() is None
    assert task.stop() is None
    fork = multiprocessing.get_context("fork")
    held, asked = fork.Event(), fork.Event()
    other = fork.Process(target=other_process, args=(folder, held, asked))
    other.start()
    assert held.wait(20)
    task.file._update(stage="training", step=3, total=7)
    shown = task.leftover()
    assert shown is not None
    assert (shown["id"], shown["status"]) == (str(other.pid), "RUNNING")
    assert "Training: iteration 3 of 7" in shown["details"]
    answer = task.stop()
    assert answer is not None
    assert answer["status"] == "STOPPING"
    assert asked.wait(20)
    other.join()
    assert task.leftover() is None


def test_a_training_of_this_server_is_asked_and_then_shown_as_stopped(
    task: TrainingTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    own, running = [{"id": "a", "status": "RUNNING"}], {"a": process}
    monkeypatch.setattr(training, "tasks", lambda _: own)
    monkeypatch.setattr(training, "processes", lambda _: running)
    assert task.stop() == {"id": "a", "status": "STOPPING"}
    assert task.running()
    assert process.wait(20) == -signal.SIGTERM
    running.clear()
    assert task.tasks() == [{"id": "a", "status": "STOPPED"}]
    assert not task.running()


def test_who_is_asked_to_stop_saves_what_there_is(
    task: TrainingTask, datastore: FolderDatastore, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def train(*_: Any, progress: Any, should_stop: Any, **__: Any) -> Result:
        progress(Progress("preparing"))
        assert not should_stop()
        os.kill(os.getpid(), signal.SIGTERM)
        assert should_stop()
        told.append(task.file.read()["status"])
        progress(Progress("publishing", 1, 2))
        return Result("0001", 0.5, "Dice 0.5", Path("manifest.json"))

    monkeypatch.setattr(training, "train", train)
    assert task({}, datastore)["status"] == "stopped"
    assert told == ["stopping"]
    assert task.stats()["status"] == "stopped"


def test_who_is_asked_to_stop_with_nothing_to_save_ends_at_once(
    task: TrainingTask, datastore: FolderDatastore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(*_: Any, progress: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        progress(Progress("preparing"))

    monkeypatch.setattr(training, "train", train)
    with pytest.raises(SemisegError, match="before its first iteration"):
        task({}, datastore)
    assert task.stats()["status"] == "stopped"
