"""``infer`` and ``score`` under ``torchrun``: two real processes do together what one does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.command_line import main
from lib.config import Config
from lib.inference.model_file import Model
from lib.methods.registry import build_method
from lib.selection.store import FEATURES, ScoreStore
from lib.studies.labels import LabelMap
from lib.studies.plan import Plan
from lib.studies.reading import read_volume
from lib.training.model_folder import ModelFolder

ROOT = Path(__file__).parents[1]
LABELS = LabelMap({1: "organ", 2: "lesion"})
PATCH = (32, 32, 24)


@pytest.fixture
def folder(tmp_path: Path) -> ModelFolder:
    """With a model of random weights, so that all structures are found everywhere."""
    torch.manual_seed(0)
    config = Config(size="small", patch=PATCH, precision="fp32", overlap=0.1)
    method = build_method(config, 1, len(LABELS.names) + 1, PATCH)
    folder = ModelFolder(tmp_path / "model")
    folder.publish(Model(config, Plan((3.0, 3.0, 5.0), "mr", PATCH), LABELS, method.state_dict()), keep=1)
    return folder


def torchrun(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command line in two processes."""
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [*start, str(ROOT / "apps" / "semiseg" / "main.py"), *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment, capture_output=True, text=True, timeout=280,
    )  # fmt: skip


def test_two_processes_infer_what_one_does_and_a_bad_study_ends_neither(
    folder: ModelFolder, studies: Path, tmp_path: Path
) -> None:
    (studies / "a_bad_one.nii.gz").write_bytes(b"garbage")  # the first of the list: the other process has more to do
    line = ["infer", "--studies", str(studies), "--model", str(folder.path), "--device", "cpu"]
    assert main([*line, "--output", str(tmp_path / "one")]) == 2
    done = torchrun(*line, "--output", str(tmp_path / "two"))
    assert "exitcode  : 2" in done.stderr  # of a study that was left out, as alone
    assert done.stderr.count("Study 'a_bad_one'") == 1
    files = sorted(file.name for file in (tmp_path / "one").iterdir())
    assert files == [f"phantom_00{number}.nii.gz" for number in (3, 4, 5)]
    assert sorted(file.name for file in (tmp_path / "two").iterdir()) == files
    for name in files:
        np.testing.assert_array_equal(*(read_volume(tmp_path / place / name)[0] for place in ("one", "two")))
    assert all(done.stdout.count(name) == 1 for name in files), "each is segmented once"


def test_two_processes_score_what_one_does(
    folder: ModelFolder, studies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = ModelFolder(shutil.copytree(folder.path, tmp_path / "alone"))
    line = ["score", "--studies", str(studies), "--device", "cpu"]
    assert main([*line, "--model", str(alone.path)]) == 0
    done = torchrun(*line, "--model", str(folder.path))
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("6 of 6 studies were scored by model 0001.") == 1, "one process speaks, for both"
    assert done.stderr.count("Scored 3 studies") == 2, "each took its half"
    model = Model.load(folder.live).checksum  # type: ignore[arg-type]
    one, two = ScoreStore(alone.scores), ScoreStore(folder.scores)
    assert two.get(model) == pytest.approx(one.get(model))
    ids = sorted(one.get(model))
    assert len(ids) == 6
    np.testing.assert_allclose(two.embeddings(model).of(ids), one.embeddings(model).of(ids), atol=1e-6)
    capsys.readouterr()
    assert main([*line, "--model", str(folder.path)]) == 0
    assert "0 of 6 studies were scored" in capsys.readouterr().out, "nothing is left to do"


def test_score_before_a_model_and_what_the_time_did_not_suffice_for(
    studies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["score", "--studies", str(studies), "--model", str(tmp_path / "empty")]
    assert main([*line, "--score-minutes", "0"]) == 0
    printed = capsys.readouterr().out
    assert "0 of 6 studies were described, as there is no model yet." in printed
    assert "6 are left" in printed
    assert main(line) == 0
    assert "left" not in capsys.readouterr().out
    assert len(ScoreStore(tmp_path / "empty" / "scores.sqlite").embeddings(FEATURES).places) == 6


def test_several_machines_would_need_one_file(
    studies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GROUP_RANK", "1")
    assert main(["score", "--studies", str(studies), "--model", str(tmp_path)]) == 2
    assert "one machine" in capsys.readouterr().err
