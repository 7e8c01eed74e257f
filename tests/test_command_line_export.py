"""``export``: data sets and networks by the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lib.command_line import main
from lib.config import Config
from lib.inference.model_file import Model
from lib.methods.registry import build_method
from lib.studies.labels import LabelMap
from lib.studies.plan import Plan
from lib.training.model_folder import ModelFolder


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
    assert main(["export", "--studies", str(studies), "--dataset", str(tmp_path / "json"), "--json"]) == 2
    (written,) = json.loads(capsys.readouterr().out)
    assert (written["kind"], written["path"]) == ("dataset", str(tmp_path / "json"))
    assert written["training"] == ["phantom_000", "phantom_002"]
    assert list(written["skipped"]) == ["phantom_001"]


def test_nothing_asked_for_is_said(studies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--studies", str(studies)]) == 2
    assert "Say what to export" in capsys.readouterr().err


def test_the_live_model_becomes_torchscript_and_a_bundle(
    studies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, project = tmp_path / "model.ts", str(tmp_path / "model")
    command = ["export", "--studies", str(studies), "--model", project, "--torchscript", str(file)]
    command += ["--bundle", str(tmp_path / "bundle")]
    assert main(command) == 2
    assert "There is no model in" in capsys.readouterr().err
    plan = Plan((2.0, 2.0, 2.0), "mr", (16, 16, 8))
    config = Config(method="supervised", size="small", device="cpu")
    weights = build_method(config, 1, 3, plan.network_patch).weights()
    ModelFolder(project).publish(Model(config, plan, LabelMap({1: "organ", 2: "lesion"}), weights), keep=1)
    assert main(command) == 0
    assert f"Model 0001 is in {file}; its probabilities differ by" in capsys.readouterr().out
    assert torch.jit.load(str(file))(torch.zeros(1, 1, 16, 16, 8)).shape == (1, 3, 16, 16, 8)
    assert (tmp_path / "bundle" / "configs" / "inference.json").is_file()
    others = ["--torchscript", str(tmp_path / "b.ts"), "--bundle", str(tmp_path / "b"), "--json"]
    assert main(["export", "--studies", str(studies), "--model", project, *others]) == 0
    written = json.loads(capsys.readouterr().out)
    assert [each["kind"] for each in written] == ["bundle", "torchscript"]
    assert all(each["version"] == "0001" and 0 <= each["difference"] < 0.01 for each in written)
