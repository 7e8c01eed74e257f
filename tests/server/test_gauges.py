"""The project in numbers: each gauge against what the test put there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from lib.inference.model_file import Model
from lib.server import gauges
from lib.server.app import SemisegApp
from lib.server.gauges import EVERY, ProjectGauges
from lib.training.model_folder import ModelFolder
from lib.training.progress import Progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    now = [1000.0]
    monkeypatch.setattr(gauges, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return lambda seconds: now.__setitem__(0, now[0] + seconds)


def samples(app: Any) -> dict[str, float]:
    """``name{label}`` -> value, as a scrape would find them now."""
    registry = CollectorRegistry()
    registry.register(ProjectGauges(app))
    return {
        sample.name + "".join(f"{{{value}}}" for value in sample.labels.values()): sample.value
        for family in registry.collect()
        for sample in family.samples
    }


def test_before_a_model_there_are_studies_and_nothing_of_a_model(app: SemisegApp) -> None:
    found = samples(app)
    assert (found["semiseg_studies{labelled}"], found["semiseg_studies{unlabelled}"]) == (3, 3)
    assert found["semiseg_training_running"] == found["semiseg_training_failed"] == 0
    assert found["semiseg_disk_free_bytes{model}"] > 0
    assert {name for name in found if name.startswith(("semiseg_model", "semiseg_scored"))} == set()
    assert {found[f"semiseg_check_ok{{{name}}}"] for name in ("studies", "model", "store", "disk")} == {1}


def test_the_live_model_and_how_fresh_its_scores_are(
    app: SemisegApp, folder: ModelFolder, publish: Callable[..., str]
) -> None:
    publish()
    draft = Model.load(folder.path / "live.pt")
    draft.metrics["dice"] = 0.875
    folder.publish(draft, keep=3)
    checksum = Model.load(folder.path / "live.pt").checksum
    app.scores.now = lambda: 1234.0
    app.scores.put("phantom_003", checksum, 0.5, {}, 1.0)
    for labelled in ("phantom_000", "phantom_001"):  # do not count
        app.scores.put(labelled, checksum, 0.5, {}, 1.0)
    app.scores.put_failure("phantom_004", checksum, "unreadable", 1.0)
    app.scores.put("phantom_005", "another model", 0.5, {}, 1.0)
    found = samples(app)
    assert found["semiseg_model_info{0002}"] == 1
    assert found["semiseg_model_dice"] == 0.875
    assert found["semiseg_scored_share"] == pytest.approx(1 / 3)
    assert found["semiseg_scored_timestamp_seconds"] == 1234


def test_a_training_in_numbers(app: SemisegApp) -> None:
    stats = app.task("training", "semiseg").file
    stats.begin("supervised")
    stats(Progress("validating", step=70, total=200, losses={"dice_ce": 0.5, "contrast": float("nan")}, metric=0.75))
    with app.folder.lock("training"):
        found = samples(app)
    assert found["semiseg_training_running"] == 1
    assert (found["semiseg_training_step"], found["semiseg_training_steps"]) == (70, 200)
    assert found["semiseg_training_dice"] == 0.75
    assert found["semiseg_training_loss{dice_ce}"] == 0.5
    assert "semiseg_training_loss{contrast}" not in found
    stats.end("failed", "no space")
    assert (samples(app)["semiseg_training_running"], samples(app)["semiseg_training_failed"]) == (0, 1)


def test_the_project_is_looked_at_once_in_a_while(app: SemisegApp, clock: Callable[[float], None]) -> None:
    watched = ProjectGauges(app)
    asked: list[int] = []
    datastore = app.datastore
    app.datastore = lambda: asked.append(1) or datastore()  # type: ignore[method-assign, assignment, func-returns-value]
    list(watched.collect())
    first = len(asked)
    list(watched.collect())
    clock(EVERY - 0.1)
    list(watched.collect())
    assert len(asked) == first
    clock(0.1)
    list(watched.collect())
    assert len(asked) == 2 * first


def test_what_cannot_be_found_out_is_left_out_and_the_rest_stays(
    app: SemisegApp, studies: Path, publish: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    publish()
    app.scores.path.unlink()
    app.scores.path.mkdir()
    found = samples(app)
    assert found["semiseg_check_ok{store}"] == 0
    assert found["semiseg_studies{labelled}"] == 3
    assert "semiseg_scored_share" not in found
    assert "semiseg_training_running" in found
    assert "Not in the metrics" in caplog.text


def test_labels_that_wait_for_the_dicom_server_are_counted(app: SemisegApp) -> None:
    waiting = SimpleNamespace(trouble="", cases=list, status=lambda: {"waiting_to_be_stored": 2})
    app.datastore = lambda: waiting  # type: ignore[method-assign, assignment, return-value]
    assert samples(app)["semiseg_labels_waiting"] == 2
