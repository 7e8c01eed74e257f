"""A training from the studies to the published model: what it uses, survives, refuses and writes down."""

from __future__ import annotations

import errno
import logging
import math
import shutil
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from lib.config import Config
from lib.errors import NotReadyError, SemisegError, StorageFullError
from lib.inference.model_file import Model
from lib.inference.segmenter import Segmenter
from lib.training.loop import Loop
from lib.training.progress import Progress


class Watch:
    """Keeps what it is told, and asks to stop, or falls down, once at a step."""

    def __init__(self, stop_at: int = 0, error: BaseException | None = None, at: int = 0) -> None:
        self.told: list[Progress] = []
        self.stop_at, self.error, self.at = stop_at, error, at

    def __call__(self, now: Progress) -> None:
        self.told.append(now)
        if self.error and now.step == self.at:
            raise self.error

    def should_stop(self) -> bool:
        return self.told[-1].step == self.stop_at

    @property
    def steps(self) -> list[int]:
        return [now.step for now in self.told if now.stage == "training"]


def test_it_ends_with_a_model_that_segments(project: Any) -> None:
    result = project.train()
    assert result.version == "0001"
    assert 0 <= result.metric <= 1
    assert "2 validation studies" in result.reason
    found = Segmenter.load(project.folder.live, "cpu")(project.image(6))
    assert set(np.unique(found.label)) <= {0, 1, 2}


def test_the_manifest_says_what_went_in_how_it_went_and_what_came_out(project: Any) -> None:
    result = project.train(iterations=8, seed=3)
    manifest = project.manifest(result)
    assert (manifest["status"], manifest["method"], manifest["seed"]) == ("finished", "cross_pseudo", 3)
    assert Config.from_dict(manifest["config"]) == project.config(iterations=8, seed=3)
    assert manifest["plan"]["patch"] == [16, 16, 8]
    assert manifest["labels"] == {"1": "organ", "2": "lesion"}
    assert {side: len(cases) for side, cases in manifest["cases"].items()} == {
        "training": 2, "validation": 2, "unlabelled": 3,
    }  # fmt: skip
    label = np.asarray(nib.load(project.label(0)).dataobj)
    assert manifest["voxels"]["phantom_000"] == {"organ": (label == 1).sum(), "lesion": (label == 2).sum()}
    assert manifest["skipped"] == {}
    assert (manifest["version"], manifest["dice"], manifest["reason"]) == ("0001", result.metric, result.reason)
    assert (manifest["steps"], manifest["iterations"]) == (8, 8)
    assert list(manifest["validation"]) == ["4", "8"]
    assert manifest["dice"] == pytest.approx(
        np.mean([np.mean(list(classes.values())) for classes in manifest["dice_by_case"].values()])
    )
    assert {"training", "waiting_for_data", "in_all"} <= manifest["seconds"].keys()
    assert manifest["environment"]["packages"]["torch"]


def test_what_is_published_are_the_averaged_weights_of_the_best_validation(project: Any) -> None:
    project.train(iterations=8)
    live = Model.load(project.folder.live)
    manifest = project.manifest()
    assert live.metrics["dice"] == max(manifest["validation"].values())
    best = max(int(step) for step, dice in manifest["validation"].items() if dice == live.metrics["dice"])
    loop, average = project.loop(iterations=8), None
    engine = loop.engine()
    for number in range(1, best + 1):
        engine.state.iteration = number
        loop.step(engine)
        now = {key: value.clone() for key, value in loop.method.state_dict().items()}
        average = {key: 0.5 * average[key] + 0.5 * now[key] for key in now} if average else now
    torch.testing.assert_close(live.weights, average)


def test_a_second_training_at_once_is_refused(project: Any) -> None:
    def second(now: Progress) -> None:
        if now.step == 2:
            with pytest.raises(NotReadyError, match="training of this project is under way"):
                project.train(seed=1)

    assert project.train(second).version == "0001"
    assert project.train(seed=1).manifest.is_file()  # afterwards it is free again


def test_a_further_round_goes_on_from_the_live_model_and_false_means_from_nothing(project: Any) -> None:
    losses: dict[str, list[float]] = {}

    def trained(name: str, **settings: Any) -> dict[str, Any]:
        watch = Watch()
        result = project.train(watch, method="supervised", learning_rate=1e-2, **settings)
        losses[name] = [now.losses["loss"] for now in watch.told if now.stage == "training"]
        return project.manifest(result)

    assert trained("first", iterations=60)["started_from"] is None
    assert trained("second", iterations=6)["started_from"] == "0001"
    assert trained("anew", iterations=6, pretrained=False)["started_from"] is None
    assert losses["second"][0] < 0.9 * losses["anew"][0]
    assert losses["first"][0] == pytest.approx(losses["anew"][0], abs=1e-4)


def test_a_worse_model_does_not_go_live(project: Any) -> None:
    assert project.train(method="supervised", iterations=60, learning_rate=1e-2).version == "0001"
    before = project.folder.live.read_bytes()
    result = project.train(method="supervised", iterations=1, pretrained=False, learning_rate=1e-7)
    assert result.version is None
    assert "live model stays" in result.reason
    assert project.folder.live.read_bytes() == before
    assert project.manifest(result)["live_dice"] > result.metric


def test_a_damaged_live_model_is_named_and_the_training_starts_from_nothing(
    project: Any, caplog: pytest.LogCaptureFixture
) -> None:
    project.folder.path.mkdir(parents=True)
    (project.folder.path / "live.pt").write_bytes(b"damaged")
    with caplog.at_level(logging.WARNING):
        result = project.train()
    assert "live.pt is not a model of semiseg" in caplog.text
    assert result.version == "0001"
    assert project.manifest(result)["started_from"] is None
    assert Model.load(project.folder.live).version == "0001"


def test_a_stopped_training_is_saved_judged_and_gone_on_with(project: Any) -> None:
    stopped, resumed = Watch(stop_at=4), Watch()
    first = project.train(stopped, stopped.should_stop, iterations=10)
    assert project.manifest(first)["status"] == "stopped"
    assert first.metric is not None
    second = project.train(resumed, iterations=10)
    assert second.manifest == first.manifest
    assert stopped.steps + resumed.steps == list(range(1, 11))
    manifest = project.manifest(second)
    assert (manifest["status"], manifest["resumed"], manifest["iterations"]) == ("finished", 1, 10)
    assert sum(manifest["uses"].values()) == 10 * 4
    assert not list(second.manifest.parent.glob("*.pt"))


def test_an_interrupted_training_is_gone_on_with_from_its_last_checkpoint(project: Any) -> None:
    interrupted, resumed = Watch(error=KeyboardInterrupt(), at=8), Watch()
    with pytest.raises(KeyboardInterrupt):
        project.train(interrupted, iterations=10, checkpoint_every=3)
    assert project.manifest()["status"] == "interrupted"
    project.train(resumed, iterations=10, checkpoint_every=3)
    assert resumed.steps == [7, 8, 9, 10]
    whole = Watch()
    shutil.rmtree(project.folder.path)
    project.train(whole, iterations=10, checkpoint_every=3)
    told = {now.step: now.losses for now in whole.told if now.stage == "training"}
    assert {now.step: now.losses for now in resumed.told if now.stage == "training"} == {
        step: told[step] for step in resumed.steps
    }


def test_a_training_that_failed_is_written_down_and_frees_the_project(project: Any) -> None:
    with pytest.raises(OSError, match="no space left"):
        project.train(Watch(error=OSError("no space left"), at=3))
    assert project.manifest()["status"] == "failed"
    assert project.manifest()["error"] == "no space left"
    assert project.train().version == "0001"


def test_without_memory_the_batch_is_halved_and_said(
    project: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also by the resumption of a training that was killed after it."""
    step, sizes = Loop.step, []

    def hungry(self: Loop, engine: Any, _: Any = None) -> dict[str, float]:
        recipe = self.patches.recipe
        sizes.append((recipe.labelled, recipe.unlabelled))
        if recipe.labelled > 1:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        return step(self, engine)

    monkeypatch.setattr(Loop, "step", hungry)
    watch = Watch(error=KeyboardInterrupt(), at=4)
    with pytest.raises(KeyboardInterrupt):
        project.train(batch_labelled=4, batch_unlabelled=4, checkpoint_every=1, progress=watch)
    result = project.train(batch_labelled=4, batch_unlabelled=4, checkpoint_every=1)
    assert list(dict.fromkeys(sizes)) == [(4, 4), (2, 2), (1, 1)]
    assert sizes.count((4, 4)) == 1  # the resumption knows
    manifest = project.manifest(result)
    assert (manifest["status"], manifest["batch"], manifest["iterations"]) == ("finished", [1, 1], 6)
    said = (
        "Out of memory: the training goes on with 1 labelled and 1 unlabelled patches an iteration instead of 2 and 2"
    )
    assert said in manifest["warnings"]
    assert said in watch.told[-1].warnings
    assert said in caplog.text


def test_without_memory_for_one_patch_the_training_ends_with_the_remedy(
    project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hungry(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    monkeypatch.setattr(Loop, "step", hungry)
    with pytest.raises(SemisegError, match="not enough memory for one patch; lower patch, size or threads"):
        project.train(batch_labelled=1, batch_unlabelled=1)


def test_a_full_disk_is_said_and_the_training_goes_on_later(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    project.train()
    live = project.folder.live.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("lib.files.os.replace", full)
        with pytest.raises(StorageFullError, match=r"live model and the last checkpoint stay.*disk is full"):
            project.train(iterations=8)
    watch = Watch()

    def full_at_five(now: Progress) -> None:
        watch(now)
        if now.step == 5:
            full()

    with pytest.raises(StorageFullError):
        project.train(iterations=8, checkpoint_every=2, progress=full_at_five)
    assert project.folder.live.read_bytes() == live
    resumed = Watch()
    project.train(iterations=8, checkpoint_every=2, progress=resumed)
    assert resumed.steps[0] == 5


def test_a_loss_that_is_no_number_ends_with_the_remedy(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib.training.loop.total", lambda terms: terms["supervised"].value * math.nan)
    with pytest.raises(SemisegError, match="lower learning_rate or set precision fp32"):
        project.train(method="supervised", iterations=40)
    assert project.folder.live is None


def test_it_is_told_from_the_preparation_to_the_end(project: Any) -> None:
    watch = Watch()
    result = project.train(watch)
    stages = [now.stage for now in watch.told]
    assert list(dict.fromkeys(stages)) == ["preparing", "training", "publishing", "ended"]
    assert stages.count("preparing") == 1 + 7  # one a study
    assert watch.steps == list(range(1, 7))
    assert watch.told[-1].best == result.metric


def test_epochs_are_of_50_iterations(project: Any) -> None:
    watch = Watch(stop_at=2)
    project.train(watch, watch.should_stop, method="supervised", epochs=2)
    assert watch.told[-1].total == 100
    assert watch.told[-1].total_epochs == 2
