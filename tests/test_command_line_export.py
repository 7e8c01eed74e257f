"""``export``: data sets by the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lib.command_line import main


def test_the_labelled_studies_become_a_data_set(
    studies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["export", "--studies", str(studies), "--dataset", str(out), "--unlabelled"]) == 0
    assert f"3 labelled studies and 3 without a label are in {out}." in capsys.readouterr().out
    described = json.loads((out / "dataset.json").read_text())
    assert [described[key] for key in ("numTraining", "numTest")] == [3, 3]


def test_a_study_left_out_is_said(studies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (studies / "labels" / "final" / "phantom_001.nii.gz").write_bytes(b"broken")
    assert main(["export", "--studies", str(studies), "--dataset", str(tmp_path / "out")]) == 2
    told = capsys.readouterr()
    assert "2 labelled studies are in" in told.out
    assert "Study 'phantom_001'" in told.err


def test_nothing_asked_for_is_said(studies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--studies", str(studies)]) == 2
    assert "Say what to export" in capsys.readouterr().err
