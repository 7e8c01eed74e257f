"""The stage before a training: kept for the next one, resumed across its border, left out where a live model wins."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from lib.errors import SemisegError
from lib.inference.model_file import Model
from lib.training import pretraining
from lib.training.length import pretraining_length, remaining_length
from lib.training.loop import Loop
from lib.training.model_folder import ModelFolder
from lib.training.pretraining import KEPT, Encoders, Pretraining, fingerprint
from lib.training.progress import Progress

IDEAL: dict[str, Any] = {"method": "ideal", "iterations": 6, "checkpoint_every": 2, "pretrained": False}
BEFORE = 3  # iterations of the stage: the default share of 6


class Recorder:
    """Keeps what it is told; falls down or stops at the ``at``-th iteration of both stages together."""

    def __init__(self, at: int = 0, error: BaseException | None = None) -> None:
        self.told: list[Progress] = []
        self.at, self.error = at, error

    def __call__(self, now: Progress) -> None:
        self.told.append(now)
        if self.error and now.step == self.at:
            raise self.error

    def should_stop(self) -> bool:
        return self.told[-1].step == self.at

    def steps(self, stage: str) -> list[int]:
        return [now.step for now in self.told if now.stage == stage]


def record(project: Any, result: Any = None) -> dict[str, Any]:
    return project.manifest(result)["pretraining"]


def encoders(project: Any) -> list[Path]:
    return sorted(project.folder.encoders.glob("*.pt"))


def stage_of(project: Any, **settings: Any) -> Pretraining:
    config = project.config(**IDEAL | settings)
    return Pretraining(config, project.prepared(**IDEAL), Path("run"), project.folder.encoders, torch.device("cpu"))


def test_it_learns_from_all_studies_but_those_that_validate_and_tells_both_stages(project: Any) -> None:
    recorder = Recorder()
    result = project.train(recorder, **IDEAL)
    assert recorder.steps("pre-training") == [1, 2, 3]
    assert recorder.steps("training") == [4, 5, 6, 7, 8, 9]
    assert {now.total for now in recorder.told if now.step} == {9}
    done = record(project, result)
    assert (done["cached"], done["steps"], done["iterations"]) == (False, BEFORE, BEFORE)
    assert done["seconds"] >= 0
    assert set(done["uses"]) == {f"phantom_{number:03d}" for number in (0, 1, 4, 5, 6)}
    assert [file.stem for file in encoders(project)] == [done["key"]]
    assert not list(result.manifest.parent.rglob("checkpoint_*.pt"))
    assert (result.manifest.parent / "pretraining" / "events").is_dir()


def test_the_same_studies_and_settings_take_the_encoder_from_there(project: Any) -> None:
    first = project.train(**IDEAL)
    weights = Model.load(project.folder.live).weights
    recorder = Recorder()
    second = project.train(recorder, **IDEAL)
    assert (record(project, second)["cached"], record(project, second)["key"]) == (True, record(project, first)["key"])
    assert recorder.steps("pre-training") == []
    assert recorder.steps("training") == [1, 2, 3, 4, 5, 6]
    torch.testing.assert_close(Model.load(project.folder.live).weights, weights, rtol=0, atol=0)


def test_the_training_starts_from_the_averaged_encoder_of_the_stage(
    project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[dict] = []
    monkeypatch.setattr(
        "lib.training.train.Loop",
        lambda method, *rest: (
            begun.append({k: v.clone() for k, v in method.state_dict().items()}) or Loop(method, *rest)
        ),
    )
    stages: list[Loop] = []
    monkeypatch.setattr(pretraining, "Loop", lambda *args: stages.append(Loop(*args)) or stages[-1])
    project.train(**IDEAL)
    kept = torch.load(encoders(project)[0], weights_only=True)
    torch.testing.assert_close(kept, dict(stages[-1].smoothed.networks[0].state_dict()), rtol=0, atol=0)
    last = stages[-1].method.networks[0].state_dict()
    assert any(not torch.equal(kept[name], last[name]) for name in kept)
    for name, value in kept.items():
        assert torch.equal(begun[-1][f"networks.0.encoder.{name}"], value)
        assert torch.equal(begun[-1][f"networks.1.encoder.{name}"], value)


def test_0_leaves_the_stage_out_and_other_methods_have_none(project: Any) -> None:
    for settings in ({"pretraining": 0.0}, {"method": "supervised"}):
        assert record(project, project.train(**IDEAL | settings)) == {}
    assert encoders(project) == []


def test_with_another_study_it_trains_again_from_the_newest_encoder_of_the_same_shape(
    project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = project.train(**IDEAL)
    shutil.copy(project.image(4), project.image(7))
    kept = torch.load(encoders(project)[0], weights_only=True)
    begun: list[dict] = []
    monkeypatch.setattr(
        pretraining,
        "Loop",
        lambda method, *rest: (
            begun.append({k: v.clone() for k, v in method.networks[0].state_dict().items()}) or Loop(method, *rest)
        ),
    )
    second = project.train(**IDEAL)
    assert record(project, second)["key"] != record(project, first)["key"]
    assert not record(project, second)["cached"]
    torch.testing.assert_close(begun[-1], kept, rtol=0, atol=0)


def test_the_key_changes_with_what_is_learnt_from_and_how(project: Any) -> None:
    first = stage_of(project).key
    assert first == stage_of(project, consistency=0.5, workers=3, validations=5).key
    others = [
        {"iterations": 7},
        {"seed": 1},
        {"pretraining": 0.7},
        {"temperature": 0.2},
        {"correspondence": "geometric"},
    ]
    assert first not in {stage_of(project, **each).key for each in others}
    os.utime(project.image(5), (1, 1))
    assert first != stage_of(project).key


def test_the_fingerprint_is_of_ids_sizes_and_times_and_bears_missing_files(project: Any) -> None:
    cases = project.cases
    first = fingerprint(cases)
    assert first == fingerprint(cases[::-1])
    status = project.image(5).stat()
    assert ("phantom_005", [(status.st_size, status.st_mtime_ns)]) in first
    project.image(5).unlink()
    assert ("phantom_005", [(0, 0)]) in fingerprint(cases)


@pytest.mark.parametrize("at", [1, 2, 3, 4, 5, 7])
def test_killed_anywhere_it_goes_on_as_if_nothing_had_happened(project: Any, tmp_path: Path, at: int) -> None:
    """In the stage before (1: without a checkpoint), at its end before the encoder is kept, right behind the border,
    and in the training itself."""
    project.train(**IDEAL)
    whole = Model.load(project.folder.live).weights
    (file,) = encoders(project)
    encoder = torch.load(file, weights_only=True)
    project.folder = ModelFolder(tmp_path / "killed")
    with pytest.raises(KeyboardInterrupt):
        project.train(Recorder(at, KeyboardInterrupt()), **IDEAL)
    resumed = Recorder()
    result = project.train(resumed, **IDEAL)
    assert project.manifest(result)["status"] == "finished"
    torch.testing.assert_close(torch.load(encoders(project)[0], weights_only=True), encoder, rtol=0, atol=0)
    torch.testing.assert_close(Model.load(project.folder.live).weights, whole, rtol=0, atol=0)
    done = len(resumed.steps("pre-training")) + len(resumed.steps("training"))
    assert done == {1: 9, 2: 9, 3: 7, 4: 6, 5: 6, 7: 4}[at]


def test_a_stop_in_the_stage_publishes_nothing_and_is_gone_on_with(project: Any) -> None:
    stopped, resumed = Recorder(2), Recorder()
    first = project.train(stopped, stopped.should_stop, **IDEAL)
    assert (first.version, first.metric) == (None, None)
    assert "goes on from here" in first.reason
    assert project.manifest(first)["status"] == "stopped"
    assert (project.folder.live, encoders(project)) == (None, [])
    second = project.train(resumed, **IDEAL)
    assert second.manifest == first.manifest
    assert resumed.steps("pre-training") == [3]
    assert second.version == "0001"


def test_a_live_model_of_the_same_kind_wins_over_the_stage_and_one_of_another_does_not(project: Any) -> None:
    settings = IDEAL | {"pretrained": True}
    project.train(**settings | {"method": "supervised"})
    assert record(project, project.train(**settings))["steps"] == BEFORE
    later = project.train(**settings | {"seed": 1})
    assert project.manifest(later)["started_from"] is not None
    assert record(project, later) == {}


def test_the_newest_encoders_are_kept_and_a_damaged_one_is_trained_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Encoders(tmp_path / "encoders")
    for number in range(KEPT + 2):
        store.save(str(number), {"weight": torch.full((number + 1,), float(number))})
        os.utime(store.folder / f"{number}.pt", (number, number))
    assert sorted(file.stem for file in store.folder.iterdir()) == ["2", "3", "4"]
    assert store.newest({"weight": torch.zeros(4)})["weight"].tolist() == [3.0] * 4
    assert store.newest({"weight": torch.zeros(9)}) is None
    assert store.get("2") is not None
    store.save("5", {"weight": torch.zeros(1)})
    assert sorted(file.stem for file in store.folder.iterdir()) == ["2", "4", "5"]  # 2 was just used
    (store.folder / "4.pt").write_bytes(b"damaged")
    with caplog.at_level(logging.WARNING):
        assert store.get("4") is None
    assert "encoder 4.pt is damaged" in caplog.text
    assert store.get("0") is None


def test_a_training_without_any_readable_study_left_says_so(project: Any) -> None:
    patches = stage_of(project).loop(3).patches
    assert not {"image", "label", "ids"} & patches[0].keys()
    for case in project.cases:
        case.image.unlink()
    with pytest.raises(SemisegError, match="Not one of 5 studies can be read any more"):
        patches[1]


def test_by_the_clock_both_stages_share_the_minutes(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = project.config(minutes=15.0, pretraining=0.5)
    assert pretraining_length(config).minutes == pytest.approx(5.0)
    assert remaining_length(config).minutes == pytest.approx(10.0)
    given = project.config(epochs=2, pretraining=0.25)
    assert pretraining_length(given).iterations == 25
    assert remaining_length(given) == given
    asked: list[float] = []
    monkeypatch.setattr("lib.training.train.training_length", lambda config, *_: asked.append(config.minutes) or 3)
    settings = {**IDEAL, "iterations": 0, "minutes": 15.0}
    assert [record(project, project.train(**settings))["cached"] for _ in range(2)] == [False, True]
    assert asked == pytest.approx([5.0, 10.0, 15.0])  # an encoder that is there leaves all of the time
