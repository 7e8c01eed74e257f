"""The curves are where TensorBoard and MLflow look for them."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def test_tensorboard_has_each_term_and_the_validations(project: Any) -> None:
    result = project.train(iterations=20)
    events = EventAccumulator(str(result.manifest.parent / "events"))
    events.Reload()
    names = set(events.Tags()["scalars"])
    assert {"training/loss", "training/supervised", "training/cross", "training/learning_rate"} <= names
    assert {"monitor/pseudo_foreground", "monitor/agreement", "monitor/ensemble_gain", "monitor/skipped"} <= names
    assert {"validation/dice", "validation/phantom_002", "validation/phantom_003"} <= names
    assert [point.step for point in events.Scalars("training/loss")] == [10, 20]
    validation = project.manifest(result)["validation"]
    assert {str(point.step): point.value for point in events.Scalars("validation/dice")} == pytest.approx(validation)


def test_mlflow_writes_settings_and_curves_into_one_file(project: Any) -> None:
    project.train(iterations=10, tracking="mlflow")
    with sqlite3.connect(project.folder.path / "mlflow.sqlite") as store:
        params = dict(store.execute("select key, value from params"))
        metrics = {name for (name,) in store.execute("select distinct key from metrics")}
        status = [row[0] for row in store.execute("select status from runs")]
    assert (params["method"], params["iterations"]) == ("cross_pseudo", "10")
    assert {"training/loss", "monitor/agreement", "validation/dice"} <= metrics
    assert status == ["FINISHED"]


def test_a_failed_training_leaves_no_open_run_to_the_next(project: Any) -> None:
    def fall(now: Any) -> None:
        if now.step == 2:
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        project.train(fall, tracking="mlflow")
    project.train(tracking="mlflow", seed=1)
    with sqlite3.connect(project.folder.path / "mlflow.sqlite") as store:
        query = "select params.value, runs.status from runs join params using (run_uuid) where params.key = 'seed'"
        assert sorted(store.execute(query)) == [("0", "RUNNING"), ("1", "FINISHED")]
