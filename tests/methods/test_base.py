"""The ramp at its known points, and the sum that is minimised."""

from __future__ import annotations

import math

import pytest
import torch

from lib.methods.base import Term, most_probable, sigmoid_ramp, total


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0.0067), (0.5, 0.2865), (1.0, 1.0)])
def test_the_ramp_at_its_start_middle_and_end(share: float, expected: float) -> None:
    assert sigmoid_ramp(share * 0.3, 0.3) == pytest.approx(expected, abs=5e-5)


def test_the_ramp_rises_and_stays_at_1() -> None:
    values = [sigmoid_ramp(step / 100, 0.4) for step in range(101)]
    assert values == sorted(values)
    assert values[10] == pytest.approx(math.exp(-5 * 0.75**2))
    assert set(values[40:]) == {1.0}


def test_a_ramp_of_no_length_is_1_from_the_start() -> None:
    assert sigmoid_ramp(0.0, 0.0) == 1.0


def test_the_total_weighs_each_term() -> None:
    terms = {"a": Term(torch.tensor(2.0)), "b": Term(torch.tensor(3.0), weight=0.5), "c": Term(torch.tensor(7.0), 0.0)}
    assert total(terms).item() == 3.5


def test_the_most_probable_class_is_the_first_of_the_largest() -> None:
    probabilities = torch.tensor([[0.2, 0.5, 0.3], [0.4, 0.2, 0.4], [0.1, 0.1, 0.8]]).T[None, :, None]
    assert most_probable(probabilities).tolist() == [[[[1, 0, 2]]]]
    assert torch.equal(most_probable(probabilities[0], 0), probabilities[0].argmax(0, keepdim=True))
