"""Methods by name: their branches, their reproducible weights, their predictions."""

from __future__ import annotations

import pytest
import torch

from lib.config import METHODS, Config
from lib.errors import ConfigError
from lib.methods.base import Method
from lib.methods.registry import build_method, build_pretraining

BRANCHES = {"cross_pseudo": 2, "multiscale": 2, "ideal": 2, "best": 2}  # of semi_cml, one answers for its modality
VOLUME, SLICE = (16, 16, 8), (32, 32)
PATCHES = pytest.mark.parametrize("patch", [VOLUME, SLICE], ids=["3D", "2D"])


def settings(name: str, **others) -> Config:
    return Config(method=name, size="small", modalities=("ct", "mr", "pet") if name == "semi_cml" else (), **others)


def build(name: str, seed: int = 0, patch: tuple[int, ...] = VOLUME) -> Method:
    return build_method(settings(name, seed=seed), 1, 3, patch)


def same(one: Method, other: Method) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@PATCHES
@pytest.mark.parametrize("name", METHODS)
def test_predictions_are_probabilities_of_each_branch(name: str, patch: tuple[int, ...]) -> None:
    method, branches = build(name, patch=patch).eval(), BRANCHES.get(name, 1)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        found = method.predict(torch.randn(2, 1, *patch))
    assert found.shape == (branches, 2, 3, *patch)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.sum(2), torch.ones(branches, 2, *patch))


@PATCHES
@pytest.mark.parametrize("name", METHODS)
def test_the_weights_are_a_function_of_the_seed_alone(name: str, patch: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    one = build(name, patch=patch)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert same(one, build(name, patch=patch))
    assert torch.equal(torch.get_rng_state(), state)  # and drawing them leaves no trace
    assert not same(one, build(name, seed=1, patch=patch))


@pytest.mark.parametrize("name", METHODS)
def test_the_first_network_starts_from_the_weights_that_supervised_starts_from(name: str) -> None:
    """So that what a comparison of methods shows is not the luck of the draw."""
    alone, method = build("supervised").networks[0].state_dict(), build(name).networks[0].state_dict()
    assert all(torch.equal(value, method[key]) for key, value in alone.items())


@pytest.mark.parametrize("name", [*BRANCHES, "semi_cml"])
def test_the_branches_start_from_different_weights(name: str) -> None:
    x = torch.randn(1, 1, *VOLUME)
    first, second, *_ = (network(x) for network in build(name).networks)
    assert not torch.allclose(first, second, atol=1e-3)


def test_semi_cml_has_a_network_for_each_modality() -> None:
    assert len(build("semi_cml").networks) == 3


@PATCHES
def test_only_ideal_has_a_stage_before_it_a_function_of_the_seed_alone(patch: tuple[int, ...]) -> None:
    for name in METHODS:
        assert (build_pretraining(settings(name), 1, patch) is None) == (name != "ideal")
    assert build_pretraining(settings("ideal", pretraining=0), 1, patch) is None
    torch.manual_seed(2)
    state = torch.get_rng_state()
    one, again, other = (build_pretraining(settings("ideal", seed=seed), 1, patch) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert same(one, again)
    assert not same(one, other)


def test_a_method_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(ConfigError) as refusal:
        Config(method="mean_student")
    assert "'mean_student'" in str(refusal.value)
    assert all(name in str(refusal.value) for name in METHODS)


def test_only_methods_with_strong_views_read_unlabelled_studies() -> None:
    assert [name for name in METHODS if not build(name).strong_views] == ["supervised"]
