"""RCPS's losses against loops over their formulas; the quick choice of negatives against the naive one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lib.losses.rectified import (
    confident_negatives,
    cosine_consistency,
    rectified_pseudo_supervision,
    voxel_contrast,
)


def softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum()


def logits(spread: float = 2.0) -> tuple[torch.Tensor, torch.Tensor]:
    view, original = spread * torch.randn(2, 2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    return view, original


def voxels(k: int, most_of_class_0: bool = False) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Embeddings of 10 voxels in two views with classes, and (embeddings, probabilities) of 12 voxels elsewhere."""
    rng = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 10, 6, generator=rng)
    certainty = torch.randn(12, 3, generator=rng)
    if most_of_class_0:
        certainty[:, 0] += torch.tensor([0.0] * 2 + [6.0] * 10)
    return first, second, torch.arange(10) % 3, torch.cat([torch.randn(12, 6, generator=rng), certainty.softmax(1)], 1)


def naive(elsewhere: torch.Tensor, kind: int, k: int) -> list[int]:
    """The k most confident voxels elsewhere that are predicted to be of another class than ``kind``."""
    sure = [(p.max(), i) for i, p in enumerate(elsewhere[:, 6:].double().numpy()) if p.argmax() != kind]
    return [i for _, i in sorted(sure, reverse=True)[:k]]


def oracle(first: torch.Tensor, second: torch.Tensor, classes: torch.Tensor, elsewhere: torch.Tensor, k: int) -> float:
    def unit(x: torch.Tensor) -> np.ndarray:
        return x.double().numpy() / np.linalg.norm(x.double().numpy(), axis=1, keepdims=True)

    others, losses = unit(elsewhere[:, :6]), []
    for one, two in ((unit(first), unit(second)), (unit(second), unit(first))):
        for i, kind in enumerate(classes.tolist()):
            repelling = sum(math.exp(one[i] @ others[j] / 0.1) for j in naive(elsewhere, kind, k))
            attracting = math.exp(one[i] @ two[i] / 0.1)
            losses += [-math.log(attracting / (attracting + repelling))] if repelling else []
    return float(np.mean(losses))


@pytest.mark.parametrize("detach", [False, True])
def test_rectified_pseudo_supervision_is_that_of_the_formula(detach: bool) -> None:
    view, original = logits()
    weighted, divergences = [], []
    for b, x, y in np.ndindex(2, 4, 5):
        v, o = view[b, :, x, y].double().numpy(), original[b, :, x, y].double().numpy()
        p, q, sharp = softmax(o), softmax(v), softmax(o / 0.5)
        divergences.append((p * np.log(p / q)).sum())
        weighted.append(math.exp(-divergences[-1]) * -(sharp * np.log(q)).sum())
    loss = rectified_pseudo_supervision(view, original, detach_weight=detach)
    assert loss.item() == pytest.approx(np.mean(weighted) + np.mean(divergences), rel=1e-5)


def test_only_the_view_learns_and_a_detached_weight_has_another_gradient() -> None:
    gradients = []
    for detach in (False, True):
        view, original = (x.requires_grad_() for x in logits())
        rectified_pseudo_supervision(view, original, detach_weight=detach).backward()
        assert original.grad is None
        gradients.append(view.grad)
    # by hand: d/dv of e^-KL CE + KL, where dKL/dv = q - p and dCE/dv = q - sharp; detached, e^-KL is a constant
    p, sharp, q = original.softmax(1), (original / 0.5).softmax(1), view.softmax(1)
    divergence = (p * (p / q).log()).sum(1, keepdim=True)
    entropy = -(sharp * q.log()).sum(1, keepdim=True)
    constant = (-divergence).exp() * (q - sharp) + (q - p)
    torch.testing.assert_close(gradients[1], constant.detach() / 40)
    torch.testing.assert_close(gradients[0], (constant - (-divergence).exp() * entropy * (q - p)).detach() / 40)


def test_cosine_consistency_is_that_of_the_formula_and_both_views_learn() -> None:
    first, second = (x.requires_grad_() for x in logits())
    loss = cosine_consistency(first, second)
    loss.backward()
    a, b = first.detach().double().numpy(), second.detach().double().numpy()
    each = [
        1 - a[i, :, x, y] @ b[i, :, x, y] / np.linalg.norm(a[i, :, x, y]) / np.linalg.norm(b[i, :, x, y])
        for i, x, y in np.ndindex(2, 4, 5)
    ]
    assert loss.item() == pytest.approx(np.mean(each), rel=1e-5)
    assert first.grad.any()
    assert second.grad.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_logits_of_half_precision_are_computed_with_in_float32(dtype: torch.dtype) -> None:
    view, original = (x.to(dtype) for x in logits(spread=300))
    view.requires_grad_()
    for loss in (rectified_pseudo_supervision, cosine_consistency):
        with torch.autocast("cpu", torch.bfloat16):
            value = loss(view, original)
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(loss(view.float(), original.float()).item(), rel=1e-5)
        value.backward()
        assert view.grad.isfinite().all()


@pytest.mark.parametrize("k", [3, 6, 50])
@pytest.mark.parametrize("most_of_class_0", [False, True])
def test_negatives_are_those_of_the_naive_choice_and_never_of_the_own_class(k: int, most_of_class_0: bool) -> None:
    elsewhere = voxels(k, most_of_class_0)[3]
    indices, exists = confident_negatives(elsewhere[:, 6:], k)
    assert indices.shape == exists.shape == (3, min(k, 12))
    for kind in range(3):
        assert indices[kind][exists[kind]].tolist() == naive(elsewhere, kind, k)


@pytest.mark.parametrize("k", [3, 6, 50])
@pytest.mark.parametrize("most_of_class_0", [False, True])
def test_voxel_contrast_equals_a_gather_for_each_voxel(k: int, most_of_class_0: bool) -> None:
    first, second, classes, elsewhere = voxels(k, most_of_class_0)
    negatives = confident_negatives(elsewhere[:, 6:], k)
    loss, n_valid = voxel_contrast(first, second, classes, elsewhere[:, :6], negatives, 0.1)
    assert loss.item() == pytest.approx(oracle(first, second, classes, elsewhere, k), rel=1e-5)
    assert n_valid == 20
    order = torch.randperm(10)
    shuffled = voxel_contrast(first[order], second[order], classes[order], elsewhere[:, :6], negatives, 0.1)
    torch.testing.assert_close(shuffled, (loss, n_valid))


def test_anchors_are_bounded_and_both_views_and_the_negatives_learn() -> None:
    first, second, classes, elsewhere = voxels(3)
    others = elsewhere[:, :6].clone()
    for embeddings in (first, second, others):
        embeddings.requires_grad_()
    loss, n_valid = voxel_contrast(first, second, classes, others, confident_negatives(elsewhere[:, 6:], 3), 0.1, 4)
    loss.backward()
    assert n_valid == 8
    assert first.grad.any(1).sum() == second.grad.any(1).sum() == 4
    assert others.grad.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_where_all_else_is_of_the_own_class_there_is_no_gradient(dtype: torch.dtype) -> None:
    first, second = (torch.randn(5, 6, dtype=dtype, requires_grad=True) for _ in range(2))
    others = torch.randn(7, 6, dtype=dtype)
    background = torch.tensor([1.0, 0.0]).expand(7, 2)
    negatives = confident_negatives(background, 4)
    kinds = torch.zeros(5, dtype=torch.int64)
    loss, n_valid = voxel_contrast(first, second, kinds, others, negatives, 0.05)
    loss.backward()
    assert (loss.item(), n_valid) == (0, 0)
    assert not first.grad.any()
    loss, n_valid = voxel_contrast(first, second, kinds + 1, others, negatives, 0.05)
    assert n_valid == 10, "for the other class they do repel"
    assert loss.isfinite()
