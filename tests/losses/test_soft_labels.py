"""Soft labels against the formula in numpy, and what a soft target asks for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lib.losses.soft_labels import soft_dice_ce

SPACE = (4, 3, 2)


def toy(classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    return tuple(2 * torch.randn(2, classes, *SPACE, generator=rng) for _ in range(2))  # type: ignore[return-value]


def oracle(logits: torch.Tensor, target: torch.Tensor, smooth: float) -> float:
    z, t = logits.double().numpy(), target.double().numpy()
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    entropy = np.mean([-(t[(n, slice(None), *at)] * np.log(p[(n, slice(None), *at)])).sum()
                       for n, *at in np.ndindex(len(z), *SPACE)])  # fmt: skip
    dices = [
        1 - (2 * (p[n, c] * t[n, c]).sum() + smooth) / ((p[n, c] ** 2).sum() + (t[n, c] ** 2).sum() + smooth)
        for n in range(len(z))
        for c in range(1, z.shape[1])
    ]
    return float(entropy + np.mean(dices))


@pytest.mark.parametrize("smooth", [1e-5, 1.0])
@pytest.mark.parametrize("classes", [2, 4])
def test_it_is_the_sum_of_both_formulas(classes: int, smooth: float) -> None:
    logits, other = toy(classes)
    target = other.softmax(1)
    assert soft_dice_ce(logits, target, smooth).item() == pytest.approx(oracle(logits, target, smooth), abs=1e-5)


def test_the_smoothing_is_one_voxel_unless_told() -> None:
    logits, other = toy()
    assert soft_dice_ce(logits, other.softmax(1)).item() == pytest.approx(
        oracle(logits, other.softmax(1), 1.0), abs=1e-5
    )


def test_a_prediction_equal_to_a_soft_target_is_a_minimum() -> None:
    _, other = toy()
    logits = other.clone().requires_grad_()
    soft_dice_ce(logits, other.softmax(1)).backward()
    assert logits.grad.abs().max() < 1e-6


def test_only_the_logits_learn() -> None:
    logits, other = (each.requires_grad_() for each in toy())
    soft_dice_ce(logits, other.softmax(1)).backward()
    assert logits.grad.any()
    assert other.grad is None


def test_an_empty_target_is_no_alarm() -> None:
    sure_of_nothing = torch.tensor([20.0, -20.0]).view(1, 2, 1, 1).expand(2, 2, 4, 4)
    assert soft_dice_ce(sure_of_nothing, sure_of_nothing.softmax(1)).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    logits, other = toy()
    rough, target = logits.to(dtype), other.softmax(1).to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        found = soft_dice_ce(rough, target)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(soft_dice_ce(rough.float(), target.float()).item(), abs=1e-6)
    extreme = torch.tensor([3e4, -3e4], dtype=dtype).view(1, 2, 1, 1).expand(1, 2, 4, 4)
    assert torch.isfinite(soft_dice_ce(extreme, extreme.flip(1).float().softmax(1)))
