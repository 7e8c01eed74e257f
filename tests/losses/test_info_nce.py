"""The masked InfoNCE kernel against its formula, written out in numpy and float64, and where float16 would break."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lib.losses.info_nce import contrast, info_nce, unit


def toy(anchors: int = 9, keys: int = 14) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Anchors, keys, positive and negative masks; some keys are neither; the first two anchors are not valid."""
    rng = torch.Generator().manual_seed(0)
    role = torch.randint(0, 3, (anchors, keys), generator=rng)
    positive, negative = role == 1, role == 2
    positive[0], negative[1] = False, False
    vectors = torch.randn(anchors + keys, 6, generator=rng)
    return vectors[:anchors], vectors[anchors:], positive, negative


def oracle(
    anchors: torch.Tensor, keys: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor, temperature: float
) -> tuple[float, int]:
    """Anchor by anchor, positive by positive."""
    a, k = anchors.double().numpy(), keys.double().numpy()
    losses = []
    for i in range(len(a)):
        s = [float(a[i] @ v / np.linalg.norm(a[i]) / np.linalg.norm(v)) / temperature for v in k]
        pushing = sum(math.exp(s[n]) for n in range(len(k)) if negative[i, n])
        each = [-math.log(math.exp(s[j]) / (math.exp(s[j]) + pushing)) for j in range(len(k)) if positive[i, j]]
        if each and pushing:
            losses.append(sum(each) / len(each))
    return float(np.mean(losses)), len(losses)


@pytest.mark.parametrize("temperature", [1.0, 0.1, 0.05])
def test_the_loss_is_that_of_the_formula_over_the_anchors_with_both_kinds_of_keys(temperature: float) -> None:
    loss, n_valid = info_nce(*toy(), temperature)
    expected, valid = oracle(*toy(), temperature)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert n_valid == valid == 7


def test_the_order_of_anchors_and_keys_does_not_matter() -> None:
    anchors, keys, positive, negative = toy()
    rows, columns = torch.randperm(len(anchors)), torch.randperm(len(keys))
    shuffled = info_nce(
        anchors[rows], keys[columns], positive[rows][:, columns], negative[rows][:, columns], temperature=0.1
    )
    torch.testing.assert_close(shuffled, info_nce(anchors, keys, positive, negative, 0.1))


def test_alike_keys_cost_the_log_of_their_number() -> None:
    positive = torch.eye(5, dtype=torch.bool)
    loss, _ = contrast(torch.full((5, 5), 3.0), positive, ~positive)
    assert loss.item() == pytest.approx(math.log(5))


def test_keys_in_neither_mask_play_no_part() -> None:
    anchors, keys, positive, negative = toy()
    other = torch.cat([keys, 100 * torch.randn(3, 6)])
    nowhere = torch.zeros(len(anchors), 3, dtype=torch.bool)
    more = info_nce(anchors, other, torch.cat([positive, nowhere], 1), torch.cat([negative, nowhere], 1), 0.1)
    torch.testing.assert_close(more, info_nce(anchors, keys, positive, negative, 0.1))


@pytest.mark.parametrize("lacking", ["positives", "negatives", "anchors"])
def test_with_nothing_valid_the_loss_is_a_zero_with_a_graph(lacking: str) -> None:
    anchors, keys, positive, negative = toy()
    if lacking == "anchors":
        anchors, positive, negative = anchors[:0], positive[:0], negative[:0]
    elif lacking == "positives":
        positive = torch.zeros_like(positive)
    else:
        negative = torch.zeros_like(negative)
    anchors.requires_grad_()
    loss, n_valid = info_nce(anchors, keys, positive, negative, 0.1)
    loss.backward()
    assert (loss.item(), n_valid) == (0, 0)
    assert not anchors.grad.any()


def test_anchors_that_are_left_out_have_no_gradient() -> None:
    anchors, keys, positive, negative = toy()
    anchors.requires_grad_()
    info_nce(anchors, keys, positive, negative, 0.1)[0].backward()
    moved = anchors.grad.abs().sum(1) > 0
    assert moved.tolist() == [False, False] + [True] * 7


@pytest.mark.parametrize("temperature", [0.05, 0.07, 0.1])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_with_in_float32(dtype: torch.dtype, temperature: float) -> None:
    anchors, keys, positive, negative = toy()
    anchors = (1000 * anchors).to(dtype).requires_grad_()  # their squares are beyond float16
    keys = (1000 * keys).to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = info_nce(anchors, keys, positive, negative, temperature)
    loss.backward()
    expected, _ = oracle(anchors.detach(), keys, positive, negative, temperature)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    assert anchors.grad.isfinite().all()


def test_opposite_and_equal_vectors_stay_exact_at_a_low_temperature() -> None:
    anchor, positive = torch.ones(1, 4), torch.tensor([[True, False]])
    wrong, _ = info_nce(anchor, torch.stack([-torch.ones(4), torch.ones(4)]), positive, ~positive, 0.05)
    right, _ = info_nce(anchor, torch.stack([torch.ones(4), -torch.ones(4)]), positive, ~positive, 0.05)
    assert wrong.item() == pytest.approx(40, rel=1e-6)
    assert right.item() == pytest.approx(math.exp(-40), rel=1e-3, abs=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_similarities_of_half_precision_are_summed_up_in_float32(dtype: torch.dtype) -> None:
    similarities, positive = torch.full((2, 300), 14.0, dtype=dtype), torch.zeros(2, 300, dtype=torch.bool)
    positive[:, 0] = True
    loss, _ = contrast(similarities, positive, ~positive)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(math.log(300))


def test_embeddings_of_zeros_stay_within_half_precision() -> None:
    anchors = torch.zeros(2, 8, dtype=torch.float16, requires_grad=True)
    positive = torch.eye(2, dtype=torch.bool)
    loss, _ = info_nce(anchors, torch.randn(2, 8), positive, ~positive, 0.1)
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2))
    assert anchors.grad.isfinite().all()


@pytest.mark.parametrize("norm", [1.0, 2.0])
def test_unit_vectors_have_length_1(norm: float) -> None:
    vectors = unit(torch.randn(5, 7, dtype=torch.float16), norm=norm)
    assert vectors.dtype == torch.float32
    torch.testing.assert_close((vectors.abs() ** norm).sum(1), torch.ones(5))
