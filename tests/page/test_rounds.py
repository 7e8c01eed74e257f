"""Rounds and comparisons: what the manifests say, restated."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from lib.page.model import POINTS, comparisons, model_content
from lib.page.rounds import Rounds
from lib.training.model_folder import ModelFolder
from lib.training.rounds import learning_curve

CASES = {"a": {"organ": 0.9, "lesion": 0.5}, "b": {"organ": 0.7, "lesion": 0.3}}


@pytest.fixture
def folder(tmp_path: Path) -> ModelFolder:
    return ModelFolder(tmp_path)


def write(folder: ModelFolder, run: str, method: str, dice: float | None, labelled: int, **more: Any) -> Path:
    """A manifest as a training leaves it: ``labelled`` studies, the last two of them of the validation."""
    ids = [f"s{place}" for place in range(labelled)]
    sides = {"training": ids[:-2], "validation": ids[-2:], "unlabelled": ["u"] * 5}
    file = folder.runs / run / "manifest.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    values = {"method": method, "status": "done", "cases": sides, "dice": dice, "environment": {"started": run}}
    file.write_text(json.dumps(values | more))
    return file


def test_a_round_says_what_its_manifest_says(folder: ModelFolder) -> None:
    write(folder, "1", "ideal", 0.6, 6, dice_by_case=CASES, version="0003", reason="why", warnings=["careful"])
    (found,) = Rounds(folder).all()
    assert found.classes == pytest.approx({"organ": 0.8, "lesion": 0.4})
    assert found.cases == pytest.approx({"b": 0.5, "a": 0.7})
    assert next(iter(found.cases)) == "b", "the lowest first"
    plain = found.to_dict()
    assert (plain["labels"], plain["unlabelled"], plain["dice"], plain["version"]) == (6, 5, 0.6, "0003")
    assert plain["warnings"] == ["careful"]
    assert plain["report"] is False


def test_rounds_follow_the_files_and_a_damaged_one_is_left_out(
    folder: ModelFolder, caplog: pytest.LogCaptureFixture
) -> None:
    rounds = Rounds(folder)
    assert rounds.all() == []
    file = write(folder, "1", "ideal", None, 4)
    assert [each.dice for each in rounds.all()] == [None]
    write(folder, "1", "ideal", 0.75, 4)
    write(folder, "2", "ideal", 0.8, 5)
    assert [each.dice for each in rounds.all()] == [0.75, 0.8]
    assert [(each.labels, each.dice) for each in rounds.all()] == learning_curve(folder)
    file.write_text("{")
    with caplog.at_level(logging.WARNING):
        assert [each.run for each in rounds.all()] == ["2"]
    assert str(file) in caplog.text


def test_only_trainings_of_the_same_labels_are_compared(folder: ModelFolder) -> None:
    write(folder, "1", "supervised", 0.70, 6)
    write(folder, "2", "ideal", 0.74, 6)
    write(folder, "3", "ideal", 0.90, 8)
    write(folder, "4", "supervised", None, 8)
    write(folder, "5", "ideal", 0.76, 6)
    (found,) = comparisons(Rounds(folder).all())
    assert found["gain"] == pytest.approx(0.06), "the latest of the method counts"
    assert (found["method"], found["labels"], found["validation"], found["unlabelled"]) == ("ideal", 6, 2, 5)


def test_monitors_are_those_of_the_latest_report_thinned_to_their_ends(folder: ModelFolder) -> None:
    file = write(folder, "1", "ideal", 0.7, 6)
    curve = [[step, step / 1000] for step in range(0, 2000, 10)]
    seen = {"agreement": {"first": 0.0, "low": 0.0, "high": 1.99, "last": 1.99}}
    content = {"monitors": seen, "curves": {"monitor/agreement": curve, "training/loss": curve}}
    file.with_name("report.json").write_text(json.dumps(content))
    file.with_name("report.html").write_text("<p>")
    write(folder, "2", "ideal", 0.7, 6)
    found = model_content(folder, None, Rounds(folder).all())["monitors"]
    assert found["run"] == "1"
    shown = found["values"]["agreement"]["curve"]
    assert len(shown) <= POINTS + 1
    assert (shown[0], shown[-1]) == (curve[0], curve[-1])
    file.with_name("report.json").write_text("[]")
    assert model_content(folder, None, Rounds(folder).all())["monitors"] == {}
