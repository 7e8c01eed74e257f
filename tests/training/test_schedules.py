"""The learning rate at its known points."""

from __future__ import annotations

import pytest

from lib.training.schedules import END, START, WARM_UP, one_cycle


def test_it_starts_low_peaks_after_the_warm_up_and_ends_near_nothing() -> None:
    assert one_cycle(0, 1000) == pytest.approx(START)
    assert one_cycle(100, 1000) == pytest.approx(1.0)
    assert one_cycle(50, 1000) == pytest.approx((1 + START) / 2)  # the middle of a half cosine
    assert one_cycle(999, 1000) == pytest.approx(END)
    assert max(range(1000), key=lambda step: one_cycle(step, 1000)) == WARM_UP * 1000


def test_it_rises_then_falls() -> None:
    values = [one_cycle(step, 200) for step in range(200)]
    assert values[:21] == sorted(values[:21])
    assert values[20:] == sorted(values[20:], reverse=True)
    assert 0 < min(values) <= max(values) <= 1


def test_it_is_a_function_of_the_step_alone() -> None:
    forwards = [one_cycle(step, 50) for step in range(50)]
    assert [one_cycle(step, 50) for step in reversed(range(50))] == forwards[::-1]


@pytest.mark.parametrize("total", [1, 2, 5])
def test_a_training_of_a_few_steps_has_a_rate_too(total: int) -> None:
    assert all(0 < one_cycle(step, total) <= 1 for step in range(total))
