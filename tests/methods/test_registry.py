"""Methods by name: their branches, their reproducible weights, their predictions."""

from __future__ import annotations

import pytest
import torch

from lib.config import METHODS, Config
from lib.errors import ConfigError
from lib.methods.base import Method
from lib.methods.registry import build_method

BRANCHES = {"supervised": 1, "cross_pseudo": 2}
PATCH = (16, 16, 8)


def build(name: str, seed: int = 0) -> Method:
    return build_method(Config(method=name, size="small", seed=seed), 1, 3, PATCH)


def same(one: Method, other: Method) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("name", METHODS)
def test_predictions_are_probabilities_of_each_branch(name: str) -> None:
    method = build(name).eval()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        found = method.predict(torch.randn(2, 1, *PATCH))
    assert found.shape == (BRANCHES[name], 2, 3, *PATCH)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.sum(2), torch.ones(BRANCHES[name], 2, *PATCH))


@pytest.mark.parametrize("name", METHODS)
def test_the_weights_are_a_function_of_the_seed_alone(name: str) -> None:
    torch.manual_seed(1)
    one = build(name)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert same(one, build(name))
    assert torch.equal(torch.get_rng_state(), state)  # and drawing them leaves no trace
    assert not same(one, build(name, seed=1))


def test_the_branches_start_from_different_weights_and_the_first_as_supervised_does() -> None:
    both, alone = build("cross_pseudo"), build("supervised")
    x = torch.randn(1, 1, *PATCH)
    assert not torch.equal(both.networks[0](x), both.networks[1](x))
    assert torch.equal(both.networks[0](x), alone.networks[0](x))


def test_a_method_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(ConfigError, match=r"'mean_student'.*supervised, cross_pseudo"):
        Config(method="mean_student")


def test_only_methods_with_strong_views_read_unlabelled_studies() -> None:
    assert build("supervised").strong_views == 0
    assert build("cross_pseudo").strong_views > 0
