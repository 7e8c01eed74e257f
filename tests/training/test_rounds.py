"""The learning curve from the manifests of a project."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lib.training.model_folder import ModelFolder
from lib.training.rounds import learning_curve


def write(folder: Path, run: str, training: int, validation: int, dice: float | None) -> None:
    (folder / "runs" / run).mkdir(parents=True)
    sides = {"training": ["a"] * training, "validation": ["b"] * validation, "unlabelled": ["c"] * 9}
    (folder / "runs" / run / "manifest.json").write_text(json.dumps({"cases": sides, "dice": dice}))


def test_labels_of_both_sides_and_the_dice_in_the_order_of_the_trainings(tmp_path: Path) -> None:
    write(tmp_path, "20260102-000000-best", 7, 1, 0.8)
    write(tmp_path, "20260101-000000-best", 3, 1, 0.7)
    assert learning_curve(ModelFolder(tmp_path)) == [(4, 0.7), (8, 0.8)]


def test_what_was_not_validated_or_did_not_end_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, "1", 4, 0, None)
    (tmp_path / "runs" / "2").mkdir()
    (tmp_path / "runs" / "2" / "manifest.json").write_text(json.dumps({"status": "running"}))
    assert learning_curve(ModelFolder(tmp_path)) == []


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"dice": 0.5}', '{"dice": 0.5, "cases": {"training": 3}}'])
def test_a_damaged_manifest_is_said_and_the_others_count(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, "1", 3, 1, 0.7)
    (tmp_path / "runs" / "2").mkdir()
    (tmp_path / "runs" / "2" / "manifest.json").write_text(text)
    assert learning_curve(ModelFolder(tmp_path)) == [(4, 0.7)]
    assert "cannot be read" in caplog.text
