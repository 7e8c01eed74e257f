"""Each perturbation against its formula, one kind a call."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lib.networks import perturbation
from lib.networks.perturbation import (
    BRIGHTEST,
    DROPPED,
    NOISE,
    channel_dropout,
    feature_dropout,
    feature_noise,
    perturb,
)

SPACES = pytest.mark.parametrize("space", [(6, 5), (4, 5, 3)], ids=["2D", "3D"])


def features(space: tuple[int, ...], samples: int = 3, channels: int = 200) -> torch.Tensor:
    return torch.randn(samples, channels, *space, generator=torch.Generator().manual_seed(0))


@SPACES
def test_dropout_takes_whole_channels_and_scales_the_others(space: tuple[int, ...]) -> None:
    x = features(space)
    torch.manual_seed(1)
    factor = (channel_dropout(x) / x).flatten(2)
    assert torch.equal(factor.amin(2) == 0, factor.amax(2) == 0)
    gone = factor.amax(2) == 0
    torch.testing.assert_close(factor[~gone], torch.full_like(factor[~gone], 1 / (1 - DROPPED)))
    assert gone.float().mean().item() == pytest.approx(DROPPED, abs=0.08)
    assert not torch.equal(gone[0], gone[1])  # drawn sample by sample


@SPACES
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_feature_dropout_zeroes_the_positions_of_the_strongest_mean_activation(space: tuple, seed: int) -> None:
    x = features(space, channels=5) * torch.tensor([1.0, 4.0, 0.1]).view(3, *[1] * (1 + len(space)))
    torch.manual_seed(seed)
    share = BRIGHTEST[0] + (BRIGHTEST[1] - BRIGHTEST[0]) * torch.rand(()).item()
    torch.manual_seed(seed)
    found = feature_dropout(x).numpy()
    for sample, result in zip(x.double().numpy(), found, strict=True):  # each by its own strongest position
        attention = np.abs(sample).mean(0)
        hidden = attention >= share * attention.max()
        assert 0 < hidden.sum() < hidden.size
        np.testing.assert_allclose(result, np.where(hidden, 0, sample), rtol=1e-6)


@SPACES
def test_feature_noise_is_one_tensor_of_factors_for_the_batch(space: tuple[int, ...]) -> None:
    x = features(space)
    factor = feature_noise(x) / x
    torch.testing.assert_close(factor, factor[:1].expand_as(factor), rtol=1e-4, atol=1e-4)
    change = factor[0] - 1
    assert change.abs().max() <= NOISE * 1.001
    assert change.min() < -0.95 * NOISE  # to both sides, up to the bound
    assert change.max() > 0.95 * NOISE
    assert change.std().item() == pytest.approx(NOISE / 3**0.5, rel=0.05)  # of a uniform distribution


@pytest.mark.parametrize("kind", [channel_dropout, feature_dropout, feature_noise, perturb])
def test_what_is_given_stays_as_it_is(kind) -> None:
    x = features((4, 4))
    before = x.clone()
    found = kind(x) if kind is not perturb else kind([x])[0]
    assert torch.equal(x, before)
    assert not torch.equal(found, before)


def test_one_kind_a_call_for_all_levels_each_as_often(monkeypatch: pytest.MonkeyPatch) -> None:
    for number, name in enumerate(("channel_dropout", "feature_dropout", "feature_noise")):
        monkeypatch.setattr(perturbation, name, lambda x, number=number: torch.full_like(x, number))
    levels = [torch.zeros(1, 4, 8, 8), torch.zeros(1, 8, 4, 4)]
    torch.manual_seed(0)
    drawn = []
    for _ in range(300):
        found = perturb(levels)
        assert [level.shape for level in found] == [level.shape for level in levels]
        kinds = torch.cat([level.flatten() for level in found]).unique().tolist()
        assert len(kinds) == 1
        drawn += kinds
    assert all(70 < drawn.count(kind) < 130 for kind in range(3))


def test_it_is_a_function_of_the_random_state() -> None:
    levels = [features((8, 8)), features((4, 4))]
    for seed in range(6):
        one, other = (torch.manual_seed(seed) and perturb(levels) for _ in range(2))
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
