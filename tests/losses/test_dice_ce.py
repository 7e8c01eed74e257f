"""Cross-entropy and soft Dice against their formulas, written out in numpy and float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lib.losses.dice_ce import dice_ce, soft_dice

SPACE = (5, 4, 3)


def toy(classes: int = 3, samples: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits ``(B, classes, X, Y, Z)``, target and weight ``(B, 1, X, Y, Z)``."""
    rng = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(samples, classes, *SPACE, generator=rng)
    target = torch.randint(0, classes, (samples, 1, *SPACE), generator=rng)
    return logits, target, torch.rand(samples, 1, *SPACE, generator=rng)


def oracle(
    logits: torch.Tensor, target: torch.Tensor, smooth: float, weight: torch.Tensor | None = None
) -> tuple[float, float]:
    """Cross-entropy and soft Dice loss, voxel by voxel and class by class."""
    x, t = logits.double().numpy(), target.numpy()[:, 0]
    w = np.ones(t.shape) if weight is None else weight.double().numpy()[:, 0]
    p = np.exp(x) / np.exp(x).sum(1, keepdims=True)
    entropies = [-w[place] * np.log(p[place[0], t[place], *place[1:]]) for place in np.ndindex(t.shape)]
    dices = []
    for sample, index in np.ndindex(len(x), x.shape[1] - 1):
        found, truth = p[sample, index + 1], t[sample] == index + 1
        overlap, sizes = (w[sample] * found * truth).sum(), (w[sample] * found).sum() + (w[sample] * truth).sum()
        dices.append(1 - (2 * overlap + smooth) / (sizes + smooth))
    return float(np.mean(entropies)), float(np.mean(dices))


@pytest.mark.parametrize("smooth", [1e-5, 1.0])
@pytest.mark.parametrize("classes", [2, 4])
def test_the_sum_of_both_is_that_of_the_formulas(smooth: float, classes: int) -> None:
    logits, target, _ = toy(classes)
    entropy, dice = oracle(logits, target, smooth)
    assert dice_ce(logits, target, smooth).item() == pytest.approx(entropy + dice, abs=1e-5)
    assert soft_dice(logits.softmax(1), target[:, 0], smooth).item() == pytest.approx(dice, abs=1e-5)


def test_voxels_count_by_their_weight_and_those_of_0_not_at_all() -> None:
    logits, target, weight = toy()
    trust = weight > 0.5
    for weights in (weight, trust):
        entropy, dice = oracle(logits, target, 1.0, weights)
        assert dice_ce(logits, target, 1.0, weights).item() == pytest.approx(entropy + dice, abs=1e-5)
    other = torch.where(trust, logits, -logits)
    assert torch.equal(dice_ce(logits, target, 1.0, trust), dice_ce(other, target, 1.0, trust))


def test_a_weight_of_1_changes_nothing_and_of_0_leaves_nothing() -> None:
    logits, target, _ = toy()
    ones = torch.ones_like(target)
    torch.testing.assert_close(dice_ce(logits, target, 1.0, ones), dice_ce(logits, target, 1.0))
    logits.requires_grad_()
    nothing = dice_ce(logits, target, 1.0, torch.zeros_like(target))
    nothing.backward()
    assert nothing.item() == 0
    assert not logits.grad.any()


def test_without_foreground_a_sure_background_costs_nothing() -> None:
    logits = torch.zeros(1, 3, *SPACE)
    logits[:, 0] = 40
    empty = torch.zeros(1, 1, *SPACE, dtype=torch.int64)
    assert dice_ce(logits, empty).item() == pytest.approx(0, abs=1e-4)
    unsure = dice_ce(torch.zeros(1, 3, *SPACE), empty)
    assert torch.isfinite(unsure)
    assert unsure > 1


def test_a_perfect_answer_costs_nothing() -> None:
    _, target, _ = toy()
    logits = 40 * torch.nn.functional.one_hot(target[:, 0], 3).movedim(-1, 1).float()
    assert dice_ce(logits, target).item() == pytest.approx(0, abs=1e-4)


def test_dice_is_of_samples_so_that_a_batch_may_be_split() -> None:
    logits, target, _ = toy(samples=4)
    halves = [dice_ce(logits[part], target[part]) for part in (slice(0, 2), slice(2, 4))]
    torch.testing.assert_close(dice_ce(logits, target), sum(halves) / 2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_logits_of_half_precision_are_computed_with_in_float32(dtype: torch.dtype) -> None:
    logits, target, _ = toy()
    logits = (300 * logits).to(dtype)  # their exponentials are far outside of what half precision holds
    with torch.autocast("cpu", torch.bfloat16):
        loss = dice_ce(logits, target)
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    torch.testing.assert_close(loss, dice_ce(logits.float(), target))
