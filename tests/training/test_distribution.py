"""Two processes under ``torchrun`` do what one does with their batches joined."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lib.device import pick_device
from lib.inference.segmenter import Segmenter
from lib.training.distribution import (
    agreed,
    any_process,
    averaged,
    first,
    own_device,
    parallel,
    process_group,
    processes,
    summed,
)
from lib.training.model_folder import ModelFolder

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("under_torchrun.py")
STEPS, STOP_AT = 8, 3
SAME = ("supervised", "cross_pseudo")  # they draw nothing; what others draw differs from process to process
OTHERS = ("multiscale", "ideal")  # with heads, queues, a teacher, and a stage before


@pytest.fixture
def both(project: Any, tmp_path: Path) -> Path:
    """The folder of what two processes wrote: a training of each method, ``stopped``, and ``labels`` alone."""
    labels = shutil.copytree(project.studies, tmp_path / "labelled")
    for number in (4, 5, 6):
        (labels / f"phantom_{number:03d}.nii.gz").unlink()
    methods = {name: name for name in (*SAME, *OTHERS)} | {"stopped": "supervised", "labels": "multiscale"}
    jobs = [
        {
            "name": name,
            "studies": str(labels if name == "labels" else project.studies),
            "out": str(tmp_path),
            "stop_at": STOP_AT if name == "stopped" else 0,
            "settings": half(project, method).to_dict(),
        }
        for name, method in methods.items()
    ]
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(SCRIPT)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(tmp_path / "jobs.json")], env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return tmp_path


def half(project: Any, method: str) -> Any:
    return project.config(method=method, iterations=STEPS, batch_labelled=1, batch_unlabelled=2)


def read(folder: Path, name: str, rank: int) -> Any:
    return json.loads((folder / f"{name}-{rank}.json").read_text())


def test_two_processes_equal_one_with_the_doubled_batch(project: Any, both: Path) -> None:
    for method in SAME:
        project.folder = ModelFolder(both / f"alone-{method}")  # nothing there that would have to be beaten
        told: dict[int, dict[str, float]] = {}
        alone = project.train(
            lambda now, told=told: told.update({now.step: now.losses} if now.stage == "training" else {}),
            method=method, iterations=STEPS, batch_labelled=2, batch_unlabelled=4, pretrained=False,
        )  # fmt: skip
        ranks = [read(both, method, rank) for rank in (0, 1)]
        assert list(told) == list(range(1, STEPS + 1))
        for step, losses in told.items():
            for name, value in losses.items():
                mean = sum(rank["losses"][str(step)][name] for rank in ranks) / 2
                assert mean == pytest.approx(value, abs=2e-5), f"{method}: {name} at step {step}"
        assert ranks[0]["losses"] != ranks[1]["losses"]  # each saw other patches
        assert [rank["mean_rank"] for rank in ranks] == [0.5, 0.5]  # as monitors are averaged
        assert ranks[0]["metric"] == pytest.approx(alone.metric, abs=1e-3)
        assert (ranks[0]["version"], ranks[1]["version"]) == ("0001", None)  # one process writes
        together, one = (
            Segmenter.load(folder.live, "cpu").predict(project.image(6))
            for folder in (ModelFolder(both / method), project.folder)
        )  # the weights themselves may differ: the bias before a norm has no gradient but rounding
        torch.testing.assert_close(together, one, rtol=0, atol=1e-2)  # where the CPU has it, in bf16

    for name in (*OTHERS, "labels"):
        ranks = [read(both, name, rank) for rank in (0, 1)]
        assert ranks[0]["version"] == "0001"
        first, last = (1 + STEPS // 2, STEPS + STEPS // 2) if name == "ideal" else (1, STEPS)
        assert [list(rank["losses"]) for rank in ranks] == [[str(step) for step in range(first, last + 1)]] * 2

    for rank in (0, 1):  # a stop that one process was told of ends both, at the same step
        assert [int(step) for step in read(both, "stopped", rank)["losses"]] == list(range(1, STOP_AT + 1))
    manifest = json.loads(next((both / "stopped" / "runs").glob("*/manifest.json")).read_text())
    assert manifest["status"] == "stopped"
    assert manifest["dice"] is not None

    for rank in (0, 1):  # a thread of the group could abort the process while its interpreter ends
        assert not [thread for thread in read(both, "threads", rank) if "gloo" in thread]


def test_alone_there_is_nothing_to_join_or_to_agree_on() -> None:
    network = torch.nn.Linear(1, 1)
    with process_group("cpu"):
        assert first()
        assert parallel(network, torch.device("cpu")) is network
        assert agreed(0.25) == summed(0.25) == 0.25
        assert processes() == 1
        assert averaged({"a": 0.25, "b": torch.tensor(2)}, torch.device("cpu")) == {"a": 0.25, "b": 2.0}
        assert [any_process(condition) for condition in (True, False)] == [True, False]
    assert own_device("cpu") == pick_device("cpu")
