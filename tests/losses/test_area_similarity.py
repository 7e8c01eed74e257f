"""Area similarity against loops over the formula, its floor and its chance level, and images without foreground."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lib.losses.area_similarity import EPSILON, area_similarity, bounds


def toy(images: int = 4, classes: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    first, second = torch.rand(2, images, classes, 5, 4, 3, generator=torch.Generator().manual_seed(0))
    return first, second


def oracle(first: torch.Tensor, second: torch.Tensor, temperature: float = 1.0) -> float:
    """Mask by mask: the cross-entropy of its similarities, that of its partner first."""
    masks = [*first.double().numpy(), *second.double().numpy()]
    images = len(first)

    def similarity(a: np.ndarray, b: np.ndarray) -> float:
        each = [
            (2 * (x * y).sum() + EPSILON) / ((x**2).sum() + (y**2).sum() + EPSILON) for x, y in zip(a, b, strict=True)
        ]
        return float(np.mean(each)) / temperature

    losses = []
    for i, mask in enumerate(masks):
        partner = similarity(mask, masks[(i + images) % (2 * images)])
        rest = sum(math.exp(similarity(mask, masks[j])) for j in range(2 * images) if (j - i) % images)
        losses.append(-math.log(math.exp(partner) / (math.exp(partner) + rest)))
    return float(np.mean(losses))


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("temperature", [1.0, 0.05])
def test_the_loss_is_that_of_the_formula(classes: int, temperature: float) -> None:
    loss, n_valid = area_similarity(*toy(classes=classes), 1.0, temperature)
    assert loss.item() == pytest.approx(oracle(*toy(classes=classes), temperature), rel=1e-5)
    assert n_valid == 8


@pytest.mark.parametrize(("images", "floor", "chance"), [(4, 1.165, 1.946), (16, 2.49, 3.43)])
def test_perfect_masks_reach_the_floor_and_equal_masks_the_chance_level(
    images: int, floor: float, chance: float
) -> None:
    apart = torch.eye(images).reshape(images, 1, images, 1).repeat(1, 1, 1, 30)
    assert area_similarity(apart, apart, 1.0)[0].item() == pytest.approx(floor, abs=5e-3)
    alike = torch.ones(images, 1, 6, 6)
    assert area_similarity(alike, alike, 1.0)[0].item() == pytest.approx(chance, abs=5e-3)
    assert bounds(images) == pytest.approx((floor, chance), abs=5e-3)


def test_the_order_of_images_and_branches_does_not_matter() -> None:
    first, second = toy()
    expected = area_similarity(first, second, 1.0)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(area_similarity(first[order], second[order], 1.0), expected)
    torch.testing.assert_close(area_similarity(second, first, 1.0), expected)


def test_images_with_too_little_foreground_take_no_part() -> None:
    first, second = (masks.requires_grad_() for masks in toy())
    scale = torch.tensor([1.0, 1e-4, 1.0, 1.0])[:, None, None, None, None]
    loss, n_valid = area_similarity(first * scale, second * scale, 1.0)
    loss.backward()
    kept = [0, 2, 3]
    assert n_valid == 6
    assert loss.item() == pytest.approx(oracle(first.detach()[kept], second.detach()[kept]), rel=1e-5)
    for masks in (first, second):
        assert (masks.grad.flatten(1).abs().sum(1) > 0).tolist() == [True, False, True, True], "both branches learn"


def test_a_class_that_both_masks_lack_says_nothing() -> None:
    first, second = toy(classes=1)
    noise = 1e-4 * torch.rand(2, *first.shape)
    with_absent = area_similarity(torch.cat([first, noise[0]], 1), torch.cat([second, noise[1]], 1), 1.0)
    torch.testing.assert_close(with_absent, area_similarity(first, second, 1.0))


def test_an_image_of_which_one_branch_only_has_foreground_takes_part() -> None:
    first, second = toy()
    second[1] = 0
    loss, n_valid = area_similarity(first.requires_grad_(), second.requires_grad_(), 1.0)
    loss.backward()
    assert n_valid == 8
    assert second.grad[1].any()


@pytest.mark.parametrize("images", [0, 1, 3])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_without_foreground_or_other_images_there_is_no_gradient(images: int, dtype: torch.dtype) -> None:
    filling = 1.0 if images == 1 else 1e-4
    first, second = (torch.full((images, 2, 6, 6), filling, dtype=dtype, requires_grad=True) for _ in range(2))
    loss, n_valid = area_similarity(first, second, 1.0)
    loss.backward()
    assert (loss.item(), n_valid) == (0, 0)
    assert not first.grad.any()
    assert not second.grad.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_large_masks_of_half_precision_are_computed_with_in_float32(dtype: torch.dtype) -> None:
    first, second = (torch.rand(3, 1, 300, 400).to(dtype) for _ in range(2))  # their sums are beyond float16
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = area_similarity(first, second, 1.0)
    assert loss.item() == pytest.approx(oracle(first, second), rel=1e-4)
