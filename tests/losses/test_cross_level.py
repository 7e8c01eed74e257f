"""Cross-level contrast against loops over the formula and against its chance level."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lib.losses.cross_level import cross_level


def toy() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Cells and crops of 3 images of 6 areas, after a ReLU as in the source, and the areas' classes."""
    rng = torch.Generator().manual_seed(0)
    cells, crops = torch.randn(2, 3, 6, 8, generator=rng).relu()
    return cells, crops, torch.randint(0, 3, (3, 6), generator=rng)


def oracle(
    cells: torch.Tensor, crops: torch.Tensor, temperature: float, norm: float, classes: torch.Tensor | None = None
) -> float:
    losses = []
    for b, i in np.ndindex(*cells.shape[:2]):
        a, keys = cells[b, i].double().numpy(), crops[b].double().numpy()
        lengths = np.linalg.norm(keys, norm, axis=1) * np.linalg.norm(a, norm)
        s = [math.exp(float(a @ key) / length / temperature) for key, length in zip(keys, lengths, strict=True)]
        apart = [j for j in range(len(keys)) if j != i and (classes is None or classes[b, j] != classes[b, i])]
        losses += [-math.log(s[i] / (s[i] + sum(s[j] for j in apart)))] if apart else []
    return float(np.mean(losses))


@pytest.mark.parametrize("norm", [1, 2])
@pytest.mark.parametrize("temperature", [0.07, 0.05])
@pytest.mark.parametrize("by_class", [False, True])
def test_the_loss_is_that_of_the_formula(norm: int, temperature: float, by_class: bool) -> None:
    cells, crops, classes = toy()
    known = classes if by_class else None
    loss, n_valid = cross_level(cells, crops, temperature, norm, known)
    assert loss.item() == pytest.approx(oracle(cells, crops, temperature, norm, known), rel=1e-5)
    assert n_valid == 18


@pytest.mark.parametrize("norm", [1, 2])
def test_areas_that_are_not_told_apart_cost_ln_25(norm: int) -> None:
    alike = torch.ones(2, 25, 128)
    loss, _ = cross_level(alike, alike, 0.07, norm)
    assert loss.item() == pytest.approx(3.219, abs=1e-3)


def test_an_L1_norm_leaves_the_loss_little_room() -> None:
    rng = torch.Generator().manual_seed(0)
    cells = torch.randn(4, 25, 128, generator=rng).relu()
    crops = (cells + 0.3 * torch.randn(4, 25, 128, generator=rng)).relu()
    assert cross_level(cells, crops, 0.07, norm=1)[0].item() == pytest.approx(3.04, abs=0.02)
    assert cross_level(cells, crops, 0.07, norm=2)[0].item() < 0.02


def test_the_order_of_images_and_areas_does_not_matter() -> None:
    cells, crops, classes = toy()
    order = torch.randperm(6)
    shuffled = cross_level(cells.flip(0)[:, order], crops.flip(0)[:, order], 0.1, 2, classes.flip(0)[:, order])
    torch.testing.assert_close(shuffled, cross_level(cells, crops, 0.1, 2, classes))


def test_cells_learn_and_crops_do_not() -> None:
    cells, crops, _ = toy()
    cells.requires_grad_(), crops.requires_grad_()
    cross_level(cells, crops, 0.1)[0].backward()
    assert cells.grad.flatten(1).any(1).all()
    assert crops.grad is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_areas_of_one_class_give_no_gradient(dtype: torch.dtype) -> None:
    cells = toy()[0].to(dtype).requires_grad_()
    loss, n_valid = cross_level(cells, cells, 0.05, classes=torch.zeros(3, 6))
    loss.backward()
    assert (loss.item(), n_valid) == (0, 0)
    assert not cells.grad.any()


@pytest.mark.parametrize("norm", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_with_in_float32(dtype: torch.dtype, norm: int) -> None:
    cells, crops = ((1000 * features).to(dtype) for features in toy()[:2])
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = cross_level(cells, crops, 0.05, norm)
    assert loss.item() == pytest.approx(oracle(cells, crops, 0.05, norm), rel=1e-4)
