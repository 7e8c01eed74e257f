"""Where a training starts from, and which interrupted one it goes on with."""

from __future__ import annotations

import dataclasses
import logging
import os
from typing import Any

import pytest
import torch

from lib.inference.model_file import Model
from lib.studies.labels import LabelMap
from lib.training.manifest import Manifest
from lib.training.start import initial_method, interrupted_run, live_model, new_run, signature


@pytest.fixture
def live(project: Any) -> Model:
    """A published model of the project, with weights of its own."""
    plan = project.prepared().cache.preprocess.plan
    method = initial_method(project.config(seed=5), 3, plan, None)
    model = Model(project.config(), plan, project.labels, method.state_dict())
    project.folder.publish(model, 5)
    return Model.load(project.folder.live)


def test_pretrained_means_the_live_model_and_false_nothing(project: Any, live: Model) -> None:
    base = live_model(project.folder, project.config(), project.labels)
    assert base is not None
    assert base.version == "0001"
    method = initial_method(project.config(), 3, base.plan, base)
    torch.testing.assert_close(method.weights(), dict(live.weights), rtol=0, atol=0)
    assert live_model(project.folder, project.config(pretrained=False), project.labels) is None


@pytest.mark.parametrize(
    ("settings", "cause"),
    [({"network": "residual_unet"}, "network"), ({"size": "medium"}, "size"), ({"spacing": (2.0, 2.0, 2.0)}, "spacing"),
     ({"patch": (16, 16, 16)}, "patch"), ({"modality": "ct"}, "modality")],
)  # fmt: skip
def test_a_live_model_that_does_not_fit_the_settings_is_not_gone_on_from(
    project: Any, live: Model, settings: dict, cause: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert live_model(project.folder, project.config(**settings), project.labels) is None
    assert f"Starting from nothing: the live model has another {cause}" in caplog.text


def test_other_classes_start_from_nothing(project: Any, live: Model, caplog: pytest.LogCaptureFixture) -> None:
    assert live_model(project.folder, project.config(), LabelMap({1: "organ"})) is None
    assert "set of classes" in caplog.text


def test_a_damaged_live_model_is_a_clear_sentence_and_a_start_from_nothing(
    project: Any, live: Model, caplog: pytest.LogCaptureFixture
) -> None:
    project.folder.live.write_bytes(b"damaged")
    assert live_model(project.folder, project.config(), project.labels) is None
    assert "Starting from nothing" in caplog.text
    assert "live.pt is not a model of semiseg" in caplog.text


def test_a_branch_that_the_live_model_lacks_starts_from_nothing(project: Any, live: Model) -> None:
    alone = {key: value for key, value in live.weights.items() if key.startswith("networks.0")}
    base = dataclasses.replace(live, weights=alone)
    method, fresh = (initial_method(project.config(), 3, live.plan, model) for model in (base, None))
    for key, value in method.state_dict().items():
        assert torch.equal(value, alone[key] if key in alone else fresh.state_dict()[key])


def test_a_live_model_of_an_earlier_network_is_a_clear_sentence_and_a_start_from_nothing(
    project: Any, live: Model, caplog: pytest.LogCaptureFixture
) -> None:
    earlier = {key.replace("encoder", "down"): value for key, value in live.weights.items()}
    dataclasses.replace(live, weights=earlier).save(project.folder.live)
    with caplog.at_level(logging.WARNING):
        assert live_model(project.folder, project.config(), project.labels) is None
    assert "Starting from nothing: The weights of model 0001 are not those of a small unet" in caplog.text


def test_branches_that_share_an_encoder_take_that_of_the_first_branch(project: Any, live: Model) -> None:
    method = initial_method(project.config(method="ideal"), 3, live.plan, live)
    given = live.of_networks
    for key, value in method.networks[0].state_dict().items():
        assert torch.equal(value, given[f"0.{key}"])


def test_teachers_and_heads_of_a_file_are_not_taken_over(project: Any, live: Model) -> None:
    fresh = initial_method(project.config(method="multiscale"), 3, live.plan, None).state_dict()
    head = {key: value + 1 for key, value in fresh.items() if key.startswith("head")}
    assert head
    method = initial_method(
        project.config(method="multiscale"), 3, live.plan, dataclasses.replace(live, weights={**live.weights, **head})
    )
    for key, value in method.state_dict().items():
        assert torch.equal(value, live.weights[key] if key in live.weights else fresh[key])


def test_a_signature_changes_with_what_changes_the_outcome(project: Any) -> None:
    def sign(**settings: Any) -> str:
        return signature(project.config(**settings), project.labels, project.cases)

    first = sign()
    assert first == signature(project.config(), project.labels, project.cases[::-1])
    assert first == sign(workers=3, threads=2, tracking="mlflow", cache_gb=1.0)
    assert first not in (sign(seed=1), sign(learning_rate=1e-3), sign(iterations=7), sign(method="supervised"))
    assert first != signature(project.config(), LabelMap({1: "organ"}), project.cases)
    os.utime(project.label(0), (1, 1))  # a corrected label
    assert first != (corrected := sign())
    project.image(6).unlink()
    assert corrected != sign()


@pytest.mark.parametrize(
    ("status", "goes_on"),
    [
        ("running", True),
        ("interrupted", True),
        ("stopped", True),
        ("finished", False),
        ("converged", False),
        ("failed", False),
    ],
)
@pytest.mark.parametrize("place", ["", "pretraining"])
def test_a_run_that_did_not_come_to_its_end_is_gone_on_with(
    project: Any, status: str, goes_on: bool, place: str
) -> None:
    run = project.folder.runs / "20200101-000000-supervised"
    Manifest(run).update(status=status, signature="same")
    assert interrupted_run(project.folder, "same") is None  # nothing to go on from
    (run / place).mkdir(exist_ok=True)
    (run / place / "checkpoint_3.pt").touch()
    assert interrupted_run(project.folder, "same") == (run if goes_on else None)
    assert interrupted_run(project.folder, "other") is None


def test_two_runs_of_one_second_have_two_folders(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.strftime", lambda _: "20200101-000000")
    first = new_run(project.folder.runs, "supervised")
    first.mkdir(parents=True)
    second = new_run(project.folder.runs, "supervised")
    assert sorted([second, first]) == [first, second]
    assert first.name == "20200101-000000-supervised"
