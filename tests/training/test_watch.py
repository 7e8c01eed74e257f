"""Each way to collapse is told once, after the ramp, with what to change; a resumption changes nothing."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from lib.training.watch import LONG, PATIENCE, SMOOTHING, Watch, labelled_prior

HEALTHY = {"pseudo_foreground": 0.09, "agreement": 0.9, "ensemble_gain": 0.01}


def step_values(skipped: bool = False, **monitors: float) -> dict[str, float]:
    """What a loop returns."""
    values = {f"monitor/{name}": value for name, value in (HEALTHY | monitors).items()}
    return values | {"cross": 0.5, "loss": 1.0, "learning_rate": 1e-3} | ({"skipped/cross": 1.0} if skipped else {})


def warnings(values: Callable[[int], dict[str, float]], steps: Iterable[int], start: int = 100) -> dict[int, str]:
    told: dict[int, str] = {}
    step = 0
    watch = Watch(start, 0.1, lambda sentence: told.update({step: sentence}))
    for step in steps:
        watch(values(step), step)
    return told


def test_a_healthy_training_is_not_warned_of() -> None:
    assert warnings(lambda _: step_values(), range(1, 1000)) == {}


def test_too_little_pseudo_foreground_is_told_once_after_the_ramp() -> None:
    told = warnings(lambda _: step_values(pseudo_foreground=0.03), range(1, 1000))
    assert list(told) == [100 + 1 + PATIENCE]
    assert "3.00%" in (sentence := next(iter(told.values())))
    assert "10.00%" in sentence
    assert "Lower consistency" in sentence
    assert warnings(lambda _: step_values(pseudo_foreground=0.034), range(1, 1000)) == {}


def test_a_few_bad_batches_are_no_collapse() -> None:
    assert warnings(lambda step: step_values(pseudo_foreground=0.0 if step % 4 == 0 else 0.1), range(1, 2000)) == {}


def test_branches_that_became_one_network_are_told_after_long() -> None:
    told = warnings(lambda _: step_values(agreement=0.999, ensemble_gain=0.0), range(1, 1000))
    assert list(told) == [100 + 1 + LONG]
    assert "one network" in told[100 + 1 + LONG]
    assert warnings(lambda _: step_values(agreement=0.999, ensemble_gain=0.01), range(1, 1000)) == {}
    assert warnings(lambda _: step_values(agreement=0.99, ensemble_gain=0.0), range(1, 1000)) == {}


def test_a_term_that_is_mostly_skipped_is_named() -> None:
    told = warnings(lambda step: step_values(skipped=step % 4 > 0), range(1, 1000))
    assert len(told) == 1
    assert "The term cross had nothing to learn from" in next(iter(told.values()))
    assert warnings(lambda step: step_values(skipped=step % 4 == 0), range(1, 1000)) == {}


def test_values_are_smoothed_by_the_steps_between_them_and_no_number_is_left_out() -> None:
    watch = Watch()
    for step, value in ((1, 1.0), (2, math.nan), (11, 0.0)):
        watch({"monitor/agreement": value}, step)
    assert watch.smoothed["agreement"] == pytest.approx(math.exp(-10 / SMOOTHING))
    assert watch.summary() == f"agreement {math.exp(-10 / SMOOTHING):.3f}"


@pytest.mark.parametrize("cut", [50, 120, 151, 152, 300])
def test_a_resumed_watch_tells_what_an_uninterrupted_one_would(cut: int) -> None:
    def values(step: int) -> dict[str, float]:
        noise = np.random.default_rng(step).uniform(-0.01, 0.01)
        return step_values(pseudo_foreground=0.02 + noise, agreement=0.9999, ensemble_gain=noise / 20)

    told: dict[str, list[str]] = {"whole": [], "parts": []}
    whole, first, second = (Watch(100, 0.1, told[name].append) for name in ("whole", "parts", "parts"))
    for step in range(1, 600):
        whole(values(step), step)
        if step == cut:
            second.load_state_dict(first.state_dict())
        (first if step < cut else second)(values(step), step)
    assert told["parts"] == told["whole"]
    assert len(told["whole"]) == 2
    assert second.state_dict() == whole.state_dict()


def test_the_prior_is_the_share_of_labelled_voxels_in_whole_training_volumes(project: Any) -> None:
    studies = project.prepared()
    labels = [np.asarray(studies.cache.get(case).label) for case in studies.training]
    expected = sum((label > 0).sum() for label in labels) / sum(label.size for label in labels)
    assert labelled_prior(studies) == pytest.approx(expected)
    assert 0 < expected < 0.5


def test_a_warning_reaches_log_manifest_and_clients(
    project: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("lib.training.watch.PATIENCE", 2)
    told: list[Any] = []
    with caplog.at_level(logging.INFO):
        result = project.train(told.append, iterations=8, ramp=0.5, confidence=1.0)
    (sentence,) = project.manifest(result)["warnings"]
    assert "The term cross had nothing to learn from in 100% of the iterations" in sentence
    assert caplog.text.count(sentence) == 1
    assert "Monitors at iteration 4: pseudo_foreground" in caplog.text
    assert {now.step: now.warnings for now in told if now.stage == "training"}[8] == (sentence,)
    assert told[-1].warnings == (sentence,)
