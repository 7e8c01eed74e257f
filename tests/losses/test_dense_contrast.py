"""Which cells correspond, and the dense loss against loops over the formula."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lib.losses.dense_contrast import dense_contrast, most_similar_cells, nearest_cells


def toy() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Query maps of 2 x 3 cells, key maps of 2 x 2 cells of 3 images, and the correspondence; some cells have none."""
    rng = torch.Generator().manual_seed(0)
    query, key = torch.randn(3, 5, 2, 3, generator=rng), torch.randn(3, 5, 2, 2, generator=rng)
    return query, key, torch.randint(-1, 4, (3, 6), generator=rng)


def oracle(query: torch.Tensor, key: torch.Tensor, match: torch.Tensor, temperature: float, across: bool) -> float:
    q, k = query.double().flatten(2).numpy(), key.double().flatten(2).numpy()
    losses = []
    for b, i in np.ndindex(*match.shape):
        if match[b, i] >= 0:
            anchor = q[b, :, i] / np.linalg.norm(q[b, :, i])
            s = np.exp(np.einsum("d,bdm->bm", anchor, k / np.linalg.norm(k, axis=1, keepdims=True)) / temperature)
            losses.append(-math.log(s[b, match[b, i]] / (s.sum() if across else s[b].sum())))
    return float(np.mean(losses))


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("temperature", [0.2, 0.05])
def test_the_loss_is_that_of_the_formula(across: bool, temperature: float) -> None:
    loss, n_valid = dense_contrast(*toy(), temperature, across)
    assert loss.item() == pytest.approx(oracle(*toy(), temperature, across), rel=1e-5)
    assert 0 < n_valid == (toy()[2] >= 0).sum()


@pytest.mark.parametrize("across", [False, True])
def test_the_order_of_images_and_key_cells_does_not_matter(across: bool) -> None:
    query, key, match = toy()
    expected = dense_contrast(query, key, match, 0.1, across)
    torch.testing.assert_close(dense_contrast(query.flip(0), key.flip(0), match.flip(0), 0.1, across), expected)
    moved = torch.where(match >= 0, 3 - match, -1)
    torch.testing.assert_close(dense_contrast(query, key.flip(2, 3), moved, 0.1, across), expected)


def test_cells_of_maps_that_tell_nothing_apart_cost_the_log_of_their_number() -> None:
    query, match = torch.ones(2, 5, 3, 3, 3), torch.arange(27).expand(2, -1)
    assert dense_contrast(query, query, match, 0.07)[0].item() == pytest.approx(math.log(27))
    assert dense_contrast(query, query, match, 0.07, across=True)[0].item() == pytest.approx(math.log(54))


@pytest.mark.parametrize("across", [False, True])
def test_only_query_cells_with_a_match_learn(across: bool) -> None:
    query, key, match = toy()
    query.requires_grad_(), key.requires_grad_()
    dense_contrast(query, key, match, 0.1, across)[0].backward()
    assert torch.equal(query.grad.flatten(2).abs().sum(1) > 0, match >= 0)
    assert key.grad is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_without_matches_or_other_cells_there_is_no_gradient(dtype: torch.dtype) -> None:
    query = torch.randn(2, 5, 3, dtype=dtype, requires_grad=True)
    nothing = dense_contrast(query, query, torch.full((2, 3), -1), 0.05)
    single = dense_contrast(query[..., :1], query[..., :1], torch.zeros(2, 1, dtype=torch.int64), 0.05)
    for loss, n_valid in (nothing, single):
        loss.backward()
        assert (loss.item(), n_valid) == (0, 0)
    assert not query.grad.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_with_in_float32(dtype: torch.dtype) -> None:
    query, key, match = toy()
    query, key = (1000 * query).to(dtype), (1000 * key).to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = dense_contrast(query, key, match, 0.05)
    assert loss.item() == pytest.approx(oracle(query, key, match, 0.05, False), rel=1e-4)


def test_the_nearest_cell_in_reach_is_the_place() -> None:
    rng = torch.Generator().manual_seed(0)
    queries, keys = 1e4 + 6 * torch.rand(2, 40, 3, generator=rng), 1e4 + 6 * torch.rand(2, 50, 3, generator=rng)
    queries[0, 0] = torch.nan  # a cell of no place
    found = nearest_cells(queries, keys, reach=1.0)
    for b, i in np.ndindex(2, 40):
        distances = np.linalg.norm(queries[b, i].double().numpy() - keys[b].double().numpy(), axis=1)
        assert found[b, i] == (int(distances.argmin()) if distances.min() <= 1.0 else -1)
    assert 0 < (found < 0).sum() < 80


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_most_similar_cell_is_that_of_the_largest_cosine(dtype: torch.dtype) -> None:
    query, key = ((100 * torch.randn(2, 6, 3, 4)).to(dtype).requires_grad_() for _ in range(2))
    found = most_similar_cells(query, key)
    q, k = query.detach().double().flatten(2).numpy(), key.detach().double().flatten(2).numpy()
    for b, i in np.ndindex(2, 12):
        cosines = [q[b, :, i] @ k[b, :, j] / np.linalg.norm(k[b, :, j]) for j in range(12)]
        assert found[b, i] == int(np.argmax(cosines))
