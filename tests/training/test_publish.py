"""A worse model never takes the place of a better one, as the same validation studies judge."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import pytest
import torch

from lib.inference.model_file import Model
from lib.studies.labels import LabelMap
from lib.training import publish as publish_module
from lib.training.publish import publish


class Judged:
    """Models whose Dice is what the test says; ``publish`` finds that of the live one by its bias."""

    def __init__(self, project: Any, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
        self.project, self.config = project, project.config(method="supervised", **settings)
        self.studies = project.prepared(method="supervised", **settings)
        self.judged: list[list[str]] = []
        monkeypatch.setattr(publish_module, "validate", self._validate)

    def model(self, dice: float | None) -> Model:
        loop = self.project.loop(method="supervised")
        weights = dict(loop.method.state_dict())
        self.key = next(key for key in reversed(weights) if key.endswith("bias"))
        weights[self.key] = torch.full_like(weights[self.key], dice or 0.0)
        return Model(
            self.config, self.studies.cache.preprocess.plan, self.project.labels, weights, metrics={"dice": dice}
        )

    def publish(self, dice: float | None, **settings: Any) -> Any:
        return publish(self.model(dice), self.project.folder, self.studies, self.config.replace(**settings))

    def live(self) -> float:
        return round(float(Model.load(self.project.folder.live).weights[self.key][0]), 3)

    def _validate(self, method: torch.nn.Module, cases: list, cache: Any, config: Any) -> dict:
        self.judged.append([case.id for case in cases])
        return {case.id: {"organ": float(method.state_dict()[self.key][0])} for case in cases}


@pytest.fixture
def judged(project: Any, monkeypatch: pytest.MonkeyPatch) -> Judged:
    return Judged(project, monkeypatch)


def test_the_first_model_goes_live(judged: Judged) -> None:
    verdict = judged.publish(0.5)
    assert (verdict.version, verdict.live, judged.live()) == ("0001", None, 0.5)
    assert "Dice 0.500 on 2 validation studies; published as version 0001" in verdict.reason


def test_a_worse_one_does_not(judged: Judged) -> None:
    judged.publish(0.75)
    verdict = judged.publish(0.5)
    assert verdict.version is None
    assert verdict.live == pytest.approx(0.75)
    assert judged.live() == 0.75
    assert judged.project.folder.versions() == ["0001"]
    assert "live model stays: Dice 0.750 on the same 2 validation studies, the new one 0.500" in verdict.reason


def test_a_worse_one_does_where_the_settings_want_it(judged: Judged) -> None:
    judged.publish(0.75)
    verdict = judged.publish(0.5, publish="always")
    assert (verdict.version, judged.live()) == ("0002", 0.5)
    assert "Dice 0.500 on 2 validation studies (the former live model: 0.750)" in verdict.reason


@pytest.mark.parametrize("dice", [0.5, 0.75])
def test_an_equal_or_better_one_does(judged: Judged, dice: float) -> None:
    judged.publish(0.5)
    verdict = judged.publish(dice)
    assert (verdict.version, judged.live()) == ("0002", dice)
    assert "the former live model: 0.500" in verdict.reason


def test_the_live_one_is_judged_anew_on_the_validation_studies_of_today(judged: Judged) -> None:
    """Its own record, of other studies or of luck, does not count."""
    judged.project.folder.publish(dataclasses.replace(judged.model(0.25), metrics={"dice": 0.99}), 5)
    assert judged.publish(0.5).version == "0002"
    assert judged.judged == [["phantom_002", "phantom_003"]]


def test_without_a_validation_set_the_reason_says_so(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    judged = Judged(project, monkeypatch, validation=0.0)
    judged.publish(0.5)
    verdict = judged.publish(None)
    assert verdict.version == "0002"
    assert "Too few labels for a validation set" in verdict.reason
    assert judged.judged == []


@pytest.mark.parametrize(("whole", "cause"), [(False, "live.pt is not a model"), (True, "weights of model 0001")])
def test_a_damaged_live_model_is_replaced_and_named(
    judged: Judged, whole: bool, cause: str, caplog: pytest.LogCaptureFixture
) -> None:
    judged.publish(0.75)
    live = judged.project.folder.live
    if whole:
        dataclasses.replace(Model.load(live), weights={}).save(live)
    else:
        live.write_bytes(live.read_bytes()[:1000])
    with caplog.at_level(logging.WARNING):
        verdict = judged.publish(0.5)
    assert (verdict.version, verdict.live, judged.live()) == ("0002", None, 0.5)
    assert "live model cannot be compared with" in caplog.text
    assert cause in caplog.text


def test_a_live_model_of_other_classes_cannot_be_compared_with(
    judged: Judged, caplog: pytest.LogCaptureFixture
) -> None:
    judged.project.folder.publish(
        dataclasses.replace(judged.model(0.75), labels=LabelMap({1: "liver", 2: "tumour"})), 5
    )
    assert judged.publish(0.5).version == "0002"
    assert "other classes" in caplog.text
