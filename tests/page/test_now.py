"""The time that a training has left, by its pace of the last minute."""

from __future__ import annotations

import pytest

from lib.page.now import Pace, training_now
from tests.clock import Clock


def test_time_left_is_by_the_pace_that_was_seen_not_since_the_start() -> None:
    """A training that was resumed at 500 makes 5 iterations a second: 450 more take 90 s."""
    clock = Clock()
    pace = Pace(clock)
    assert pace.seconds_left(500, 1000) is None
    clock.now += 10
    assert pace.seconds_left(550, 1000) == pytest.approx(90)


def test_only_the_last_minute_counts() -> None:
    clock = Clock()
    pace = Pace(clock)
    for step in range(10):  # slow at first
        pace.seconds_left(step, 10_000)
        clock.now += 10
    for step in range(10, 810, 100):
        left = pace.seconds_left(step, 10_000)
        clock.now += 10
    assert left == pytest.approx((10_000 - 710) / 10)


def test_another_training_begins_anew() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.seconds_left(900, 1000)
    clock.now += 10
    assert pace.seconds_left(5, 1000) is None
    clock.now += 10
    assert pace.seconds_left(15, 1000) == pytest.approx(985)


def test_before_the_first_and_after_the_last_training_nothing_is_left() -> None:
    assert training_now({}, False, Pace())["status"] is None
    ended = {"status": "done", "step": 10, "total": 10, "losses": {"dice": 0.5}, "secret": 1}
    found = training_now(ended, False, Pace())
    assert found["losses"] == {"dice": 0.5}
    assert found["seconds_left"] is None
    assert found["running"] is False
    assert "secret" not in found


def test_trainings_of_the_command_line_are_told_too() -> None:
    """They leave a round, and tell the server nothing while they run."""
    latest = {"status": "finished", "dice": 0.7, "method": "ideal", "reason": "why", "version": "0002", "warnings": []}
    ended = training_now({}, False, Pace(), latest)
    assert (ended["status"], ended["method"], ended["metric"], ended["reason"]) == ("done", "ideal", 0.7, "why")
    before = {"status": "done", "step": 10, "total": 10, "total_time": "0:01:00"}
    assert training_now(before, True, Pace(), latest)["stage"] == "elsewhere"
    assert training_now(before, True, Pace(), latest)["step"] is None
