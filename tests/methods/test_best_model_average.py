"""The rule of the best-model average, restated over a random sequence of epochs."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn

from lib.methods.best_model_average import POOL, SETTLED, STAYS, BestModelAverage

VOXELS = 1000  # of foreground are judged in an epoch: Dice comes in steps of 0.001


class Rule:
    """The rule in plain numbers; a network is one number here."""

    def __init__(self, modalities: int) -> None:
        self.pools: list[list[float]] = [[] for _ in range(modalities)]
        self.stronger, self.teacher = -1, 0.0
        self.gains: list[float] = []

    def epoch(self, dices: list[float], networks: list[float]) -> float:
        """The teacher after it."""
        if self.stronger < 0:
            for pool, dice in zip(self.pools, dices, strict=True):
                pool.append(dice)
            if len(self.pools[0]) == 6:
                self.stronger = int(np.argmax([sum(pool) for pool in self.pools]))
                self.teacher = networks[self.stronger]
            return self.teacher
        dice, pool = dices[self.stronger], self.pools[self.stronger]
        if dice > min(pool):
            self.gains.append((dice - min(pool)) / dice)
            alpha = min(1 - (dice - min(pool)) / dice, 0.99)
            self.teacher = alpha * self.teacher + (1 - alpha) * networks[self.stronger]
            pool[pool.index(min(pool))] = dice
        return self.teacher


class Number(nn.Module):
    def __init__(self, value: float = 0.0) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))


def judge(average: BestModelAverage, modality: int, dice: float) -> None:
    """A prediction of this Dice: as many foreground voxels as the label has, so many of them in its place."""
    label = torch.zeros(1, 1, 2 * VOXELS, 1, dtype=torch.int64)
    label[:, :, :VOXELS] = 1
    found = label.roll(VOXELS - round(dice * VOXELS), 2)
    average.judge(modality, torch.cat([1 - found, found], 1).float(), label)


def sequence(modalities: int, epochs: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Dice ``(epochs, modalities)`` that rises and levels off, with noise, and networks as numbers."""
    rng = np.random.default_rng(modalities)
    rising = 0.8 - 0.5 * np.exp(-np.arange(epochs) / 6)[:, None] + rng.uniform(-0.02, 0.02, (epochs, modalities))
    return rising.round(3), rng.normal(size=(epochs, modalities))


def run(average: BestModelAverage, dices: np.ndarray, values: np.ndarray) -> list[float]:
    """The teacher after each epoch."""
    found = []
    for row, weights in zip(dices, values, strict=True):
        for modality, dice in enumerate(row):
            judge(average, modality, dice)
        average.close_epoch([Number(float(weight)) for weight in weights])
        found.append(average.teacher.network.value.item() if average.born else 0.0)
    return found


def test_the_constants_are_the_sources() -> None:
    assert (POOL, STAYS) == (6, 0.99)


@pytest.mark.parametrize("modalities", [2, 3])
def test_birth_and_updates_follow_the_rule(modalities: int) -> None:
    dices, values = sequence(modalities)
    average, rule = BestModelAverage([Number() for _ in range(modalities)]), Rule(modalities)
    expected = [rule.epoch(list(row), list(weights)) for row, weights in zip(dices, values, strict=True)]
    assert run(average, dices, values) == pytest.approx(expected, abs=1e-4)
    assert int(average.stronger) == rule.stronger
    assert sorted(average.pool[rule.stronger].tolist()) == pytest.approx(sorted(rule.pools[rule.stronger]), abs=1e-5)
    # the sequence has epochs of all kinds: of no gain, of one below the smallest step, and above it
    assert 0 < len(rule.gains) < len(dices) - POOL
    assert min(rule.gains) < 1 - STAYS < max(rule.gains)


def test_the_stronger_is_measured_wherever_it_stands() -> None:
    for place in range(3):
        dices = np.full((POOL, 3), 0.5)
        dices[:, place] = 0.6
        average = BestModelAverage([Number() for _ in range(3)])
        assert run(average, dices, np.tile([1.0, 2.0, 3.0], (POOL, 1)))[-1] == 1.0 + place
        assert int(average.stronger) == place


@pytest.mark.parametrize("start", [0, 3])
def test_there_is_no_teacher_before_the_pool_is_full(start: int) -> None:
    average = BestModelAverage([Number(), Number()], start)
    dices, values = sequence(2, start + POOL)
    run(average, dices[:-1], values[:-1])
    assert not average.born
    run(average, dices[-1:], values[-1:])
    assert average.born
    np.testing.assert_allclose(average.pool, dices[start:].T, atol=1e-5)


def test_the_stronger_one_is_the_best_of_all_epochs_not_of_those_in_the_pool() -> None:
    average = BestModelAverage([Number(), Number()], start=4)
    dices = np.array([[0.9, 0.1]] * 4 + [[0.5, 0.6]] * POOL)
    leading = []
    for row in dices:
        run(average, row[None], np.ones((1, 2)))
        leading.append(average.leading)
    assert leading == [-1] * (SETTLED - 1) + [0] * (len(dices) - SETTLED + 1)
    assert int(average.stronger) == 0


@pytest.mark.parametrize("missing", [0, 1])
@pytest.mark.parametrize("at", [2, 10])
def test_an_epoch_in_which_a_modality_was_not_judged_does_not_count(missing: int, at: int) -> None:
    dices, values = sequence(2, 15)
    whole, gappy = (BestModelAverage([Number(), Number()]) for _ in range(2))
    expected = run(whole, dices, values)
    before = run(gappy, dices[:at], values[:at])
    judge(gappy, 1 - missing, dices[at, 1 - missing])  # and as well again in the next epoch
    gappy.close_epoch([Number(9.0), Number(9.0)])
    assert int(gappy.epochs) == at
    assert before + run(gappy, dices[at:], values[at:]) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("at", [0, 3, POOL, 12])
def test_a_resumed_rule_goes_on_as_an_uninterrupted_one(at: int) -> None:
    dices, values = sequence(2, 20)
    average, resumed = (BestModelAverage([Number(), Number()]) for _ in range(2))
    run(average, dices[:at], values[:at])
    judge(average, 0, 0.7)  # in the middle of an epoch
    resumed.load_state_dict(deepcopy(average.state_dict()))
    assert run(resumed, dices[at:], values[at:]) == run(average, dices[at:], values[at:])
    assert all(map(torch.equal, resumed.state_dict().values(), average.state_dict().values()))


def test_an_epochs_dice_is_that_of_all_its_foreground_voxels_of_any_class() -> None:
    average, agreeing, found, there = BestModelAverage([Number(), Number()]), 0, 0, 0
    rng = torch.Generator().manual_seed(0)
    for _ in range(3):
        logits, label = torch.randn(2, 3, 5, 4, generator=rng), torch.randint(0, 3, (2, 1, 5, 4), generator=rng)
        for modality in range(2):
            average.judge(modality, logits, label)
        calls, truth = logits.numpy().argmax(1), label.numpy()[:, 0]
        agreeing += ((calls == truth) & (truth > 0)).sum()
        found, there = found + (calls > 0).sum(), there + (truth > 0).sum()
    average.close_epoch([Number(), Number()])
    assert average.pool[:, 0].tolist() == pytest.approx([2 * agreeing / (found + there)] * 2)
    assert not average.overlap.any()  # the next epoch begins with nothing


def test_the_teacher_is_a_copy_that_learns_nothing() -> None:
    networks = [Number(1.0), Number(2.0)]
    average = BestModelAverage(networks)
    average.bear(networks)  # at the latest when it is needed; the first one wins a tie
    assert int(average.stronger) == 0
    with torch.no_grad():
        networks[0].value.add_(5)
    assert average.teacher.network.value.item() == 1.0
    assert not any(weight.requires_grad for weight in average.parameters())
