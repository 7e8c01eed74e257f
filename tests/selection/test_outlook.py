"""What the next labels would bring: known curves, noise, too few rounds, and the words."""

from __future__ import annotations

import numpy as np
import pytest

from lib.selection.outlook import NOISE, expected_gain, outlook

COUNTS = (4, 8, 12, 16, 20)
SCORES = {"known": 0.1, "new": 0.2, "other": 0.4}


def law(labels: float, top: float = 0.9, height: float = 0.6, power: float = 0.8) -> float:
    return top - height * labels**-power


def test_the_gain_of_a_curve_without_noise_is_found() -> None:
    gain, sd = expected_gain([(labels, law(labels)) for labels in COUNTS], 10)
    truth = law(30) - law(20)
    assert gain == pytest.approx(truth, abs=0.004)
    assert abs(gain - truth) < sd


def test_a_flat_curve_promises_next_to_nothing() -> None:
    found = outlook([(labels, 0.85) for labels in COUNTS], 10, {}, [])
    assert found.gain == pytest.approx(0, abs=1e-9)
    assert found.low == 0
    assert found.high is not None
    assert found.high < 2 * NOISE


def test_a_falling_curve_promises_no_loss() -> None:
    gain, _ = expected_gain([(4, 0.9), (8, 0.88), (12, 0.86)], 10)
    assert gain == 0


def test_no_curve_goes_above_one() -> None:
    """A steep start would by the power law alone rise above 1."""
    gain, _ = expected_gain([(4, 0.5), (8, 0.75), (12, 0.97)], 1000)
    assert gain <= 1 - 0.8


def test_the_truth_lies_in_the_interval_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    truth = law(30) - law(20)
    inside = 0
    for _ in range(200):
        noisy = [(labels, law(labels) + rng.normal(0, NOISE)) for labels in COUNTS]
        found = outlook(noisy, 10, {}, [])
        assert found.low is not None
        assert found.high is not None
        inside += found.low <= truth <= found.high
    assert inside >= 150


def test_repetitions_make_it_surer_and_the_order_does_not_matter() -> None:
    once = [(labels, law(labels)) for labels in COUNTS]
    assert expected_gain(once * 4, 10)[1] < expected_gain(once, 10)[1]
    assert expected_gain(once[::-1], 10) == pytest.approx(expected_gain(once, 10))


@pytest.mark.parametrize("rounds", [[], [(4, 0.8)], [(4, 0.8), (8, 0.85)], [(4, 0.8), (4, 0.81), (4, 0.82), (0, 0.1)]])
def test_too_few_rounds_give_no_number_and_say_what_is_missing(rounds: list[tuple[int, float]]) -> None:
    found = outlook(rounds, 10, SCORES, ["known"])
    assert found.gain is found.low is found.high is None
    assert "needs 3 trainings" in found.reason
    assert "unsure by 0.300" in found.reason


def test_the_words_hold_the_numbers() -> None:
    found = outlook([(labels, law(labels)) for labels in COUNTS], 10, SCORES, ["known"])
    assert f"{found.gain:+.3f}" in found.reason
    assert "10 more labels" in found.reason
    assert (found.unlabelled, found.labelled) == pytest.approx((0.3, 0.1))
    assert "0.300" in found.reason
    assert "0.100" in found.reason


def test_hardly_worth_it_is_said_only_when_even_the_best_case_is_small() -> None:
    flat = [(labels, 0.85) for labels in range(1, 101)]
    assert "hardly worth it" in outlook(flat, 10, {}, []).reason
    assert "hardly worth it" not in outlook([(labels, law(labels)) for labels in COUNTS], 10, {}, []).reason
