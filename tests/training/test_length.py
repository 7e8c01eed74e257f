"""How long a training is: given, in epochs, or what fits the minutes."""

from __future__ import annotations

import math
from typing import Any

import pytest

from lib.config import EPOCH, Config
from lib.training import length, run
from lib.training.length import FEWEST, TIMED, WARM_UP, training_length


class Clock:
    """Time that passes only where a trial iteration or a validation says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(length.time, "monotonic", lambda: self.now)


class Trial:
    """A loop whose iterations take so many seconds; the first ones ten times as long."""

    device = type("Device", (), {"type": "cpu"})

    def __init__(self, clock: Clock, seconds: float) -> None:
        self.clock, self.seconds, self.done, self.closed = clock, seconds, 0, False

    def engine(self) -> Any:
        return type("Engine", (), {"state": type("State", (), {"iteration": 0})})

    def step(self, engine: Any) -> None:
        self.done += 1
        assert engine.state.iteration == self.done
        self.clock.now += self.seconds * (10 if self.done <= WARM_UP else 1)

    def close(self) -> None:
        self.closed = True


def test_iterations_and_epochs_are_taken_as_they_are() -> None:
    assert training_length(Config(iterations=123), 0.0, pytest.fail, None) == 123
    assert training_length(Config(epochs=3), 0.0, pytest.fail, None) == 3 * EPOCH == 150


def test_minutes_are_divided_by_what_an_iteration_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    trial = Trial(clock, 0.5)

    def validation(_: Any) -> None:
        clock.now += 6

    clock.now += 20  # since the start, for the preparation
    steps = training_length(Config(minutes=10, validations=5), 100.0, lambda _: trial, validation)  # type: ignore[arg-type, return-value]
    spent = 20 + 0.5 * (10 * WARM_UP + TIMED) + 6
    assert steps == int((600 - spent - 5 * 6) / 0.5)
    assert trial.done == WARM_UP + TIMED
    assert trial.closed


def test_however_short_the_time_something_is_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    assert training_length(Config(minutes=0.05), 0.0, lambda _: Trial(clock, 9.0), None) == FEWEST  # type: ignore[arg-type, return-value]


def test_the_trial_of_a_real_training_leaves_no_trace_in_it(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(length, "FEWEST", 6)
    monkeypatch.setattr(run, "OVERTIME", math.inf)
    by_clock = project.train(minutes=0.05, pretrained=False)
    steps = project.manifest(by_clock)["steps"]
    given = project.train(iterations=steps, pretrained=False)
    assert project.manifest(by_clock)["iterations"] == steps >= 6
    assert project.manifest(by_clock)["uses"] == project.manifest(given)["uses"]
    assert by_clock.metric == given.metric
