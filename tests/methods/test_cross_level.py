"""The grid of crops, its order, and what flows between the full patch and its crops in each phase."""

from __future__ import annotations

from itertools import product
from math import prod

import numpy as np
import pytest
import torch

from lib.config import Config
from lib.methods import cross_level
from lib.methods.base import Method, sigmoid_ramp
from lib.methods.cross_level import CONTRAST, FIRST_PHASE, GRID, SHORTEST, crop_grid, cut, joined
from lib.methods.registry import build_method
from lib.networks.unet import Decoded

VOLUME, SLICE = (32, 32, 16), (256, 64)
GRIDS = {VOLUME: (2, 2, 1), SLICE: (4, 2)}
PATCHES = pytest.mark.parametrize("patch", [VOLUME, SLICE], ids=["3D", "2D"])


def build(patch: tuple[int, ...], **settings) -> Method:
    return build_method(Config(method="cross_level", size="small", **settings), 1, 2, patch)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((64, 64), [4, 4]),
        ((320, 320), [4, 4]),
        ((64, 48), [4, 3]),  # a fourth of 48 would be too short
        ((96, 51), [4, 3]),  # 51 is not even
        ((53, 64), [1, 4]),
        ((8, 64), [1, 4]),
        ((32, 32, 32), [2, 2, 2]),
        ((64, 64, 16), [2, 2, 1]),
        ((33, 32, 40), [1, 2, 2]),
    ],
)
def test_crops_are_as_many_as_are_even_and_long_enough(size: tuple[int, ...], expected: list[int]) -> None:
    assert crop_grid(size, [2] * len(size)) == expected
    assert max(expected) <= GRID[len(size)]
    assert all(edge % n == 0 and (n == 1 or edge // n >= SHORTEST) for edge, n in zip(size, expected, strict=True))


@pytest.mark.parametrize("grid", [(4, 4), (3, 1), (2, 2, 2), (2, 1, 3)])
def test_crop_k_is_cell_k_and_joining_undoes_cutting(grid: tuple[int, ...]) -> None:
    edges = (4, 3, 5)[: len(grid)]
    x = torch.randn(2, 3, *(n * edge for n, edge in zip(grid, edges, strict=True)))
    crops = cut(x, grid)
    assert torch.equal(joined(crops, grid), x)
    numbered = torch.arange(int(np.prod(grid))).view(1, 1, *grid)  # cells in the order in which pooling flattens them
    for axis, edge in enumerate(edges, 2):
        numbered = numbered.repeat_interleave(edge, axis)
    assert cut(numbered, grid).flatten(1).unique(dim=1).squeeze(1).tolist() == list(range(int(np.prod(grid))))
    for row, (number, place) in product(range(2), enumerate(np.ndindex(*grid))):
        part = (slice(k * e, (k + 1) * e) for k, e in zip(place, edges, strict=True))
        assert torch.equal(crops[row * int(np.prod(grid)) + number], x[(row, slice(None), *part)])


def decoded(method: Method, monkeypatch) -> list[Decoded]:
    """Collects what the network makes of the full patches, then of the crops, with the gradients of both."""
    seen, exact = [], method.networks[0].decode

    def spy(x: torch.Tensor) -> Decoded:
        seen.append(exact(x))
        seen[-1].logits.retain_grad()
        seen[-1].features[0].retain_grad()
        return seen[-1]

    monkeypatch.setattr(method.networks[0], "decode", spy)
    return seen


@PATCHES
def test_the_consistency_is_summed_over_the_crops_and_only_they_learn(patch, batch_of, monkeypatch) -> None:
    method = build(patch, consistency=0.5)
    seen, toy = decoded(method, monkeypatch), batch_of(method, patch, labelled=1, unlabelled=2)
    term = method(toy, 1.0)["consistency"]
    term.value.backward()
    full, crops = seen
    assert full.logits.grad is None
    assert full.features[0].grad is None
    assert crops.logits.grad.flatten(1).any(1).all()  # of labelled and of unlabelled patches
    p, q = (each.logits.detach().double().softmax(1).numpy() for each in (full, crops))
    grid, expected = GRIDS[patch], []
    edges = [edge // n for edge, n in zip(patch, grid, strict=True)]
    for row in range(3):
        for number, place in enumerate(np.ndindex(*grid)):
            part = tuple(slice(k * e, (k + 1) * e) for k, e in zip(place, edges, strict=True))
            difference = q[row * int(np.prod(grid)) + number] - p[(row, slice(None), *part)]
            expected.append((difference**2).sum(0).mean())
    assert term.value.item() * term.weight == pytest.approx(0.5 * np.sum(expected) / 3, rel=1e-4)


@PATCHES
def test_the_contrast_compares_a_cell_with_its_own_crop_and_only_the_cells_learn(patch, batch_of, monkeypatch) -> None:
    method, asked = build(patch), []
    exact = cross_level.cross_level
    monkeypatch.setattr(cross_level, "cross_level", lambda *parts: asked.append(parts) or exact(*parts))
    seen, toy = decoded(method, monkeypatch), batch_of(method, patch, labelled=1, unlabelled=2)
    term = method(toy, 0.0)["cross_level"]
    term.value.backward()
    full, crops = seen
    assert full.features[0].grad is not None
    assert crops.features[0].grad is None
    areas, keys, _ = asked[0]
    grid = GRIDS[patch]
    count = int(np.prod(grid))
    assert areas.shape == keys.shape == (3, count, areas.shape[2])
    assert term.n_valid == 3 * count
    own = full.features[0]
    edges = [edge // n for edge, n in zip(own.shape[2:], grid, strict=True)]
    for row, (number, place) in product(range(3), enumerate(np.ndindex(*grid))):
        part = tuple(slice(k * e, (k + 1) * e) for k, e in zip(place, edges, strict=True))
        mean = method.head(own[(row, slice(None), *part)].flatten(1).mean(1)[None])[0]
        torch.testing.assert_close(areas[row, number], mean, rtol=1e-4, atol=1e-5)
        crop = method.head(crops.features[0][[row * count + number]].flatten(2).mean(2))[0]
        torch.testing.assert_close(keys[row, number], crop, rtol=1e-3, atol=1e-4)


def test_crops_that_differ_in_brightness_alone_are_told_apart(batch_of, monkeypatch) -> None:
    method, asked = build(SLICE), []
    exact = cross_level.cross_level
    monkeypatch.setattr(cross_level, "cross_level", lambda *parts: asked.append(parts) or exact(*parts))
    toy = batch_of(method, SLICE, labelled=1, unlabelled=1)
    brightness = torch.arange(8.0).view(4, 2).repeat_interleave(64, 0).repeat_interleave(32, 1)
    toy["image"] = (torch.randn(64, 32).repeat(4, 2) + brightness)[None, None]
    method(toy, 0.0)
    keys = asked[0][1][0]
    apart = torch.cdist(keys, keys) / keys.norm(dim=1).mean()
    assert apart[~torch.eye(len(keys), dtype=torch.bool)].min() > 1e-2


def test_full_patches_are_weak_views_and_crops_are_of_the_strong_ones(batch_of, monkeypatch) -> None:
    method, given = build(SLICE), []
    exact = method.networks[0].decode
    monkeypatch.setattr(method.networks[0], "decode", lambda x: given.append(x) or exact(x))
    toy = batch_of(method, SLICE)
    method(toy, 1.0)
    assert torch.equal(given[0], torch.cat([toy["image"], toy["weak"]]))
    assert torch.equal(given[1], cut(torch.cat([toy["image"], toy["strong"][0]]), GRIDS[SLICE]))


def test_first_the_contrast_then_the_consistency_along_its_own_ramp(batch_of) -> None:
    method = build(SLICE, consistency=0.5, ramp=0.4)
    toy = batch_of(method, SLICE)
    for progress in (0.0, 0.99 * FIRST_PHASE):
        terms = method(toy, progress)
        assert set(terms) == {"supervised", "cross_level"}
        assert terms["cross_level"].weight == CONTRAST
    for progress in (FIRST_PHASE, 0.5, 1.0):
        terms = method(toy, progress)
        assert set(terms) == {"supervised", "consistency"}
        since = (progress - FIRST_PHASE) / (1 - FIRST_PHASE)
        assert terms["consistency"].weight == pytest.approx(0.5 * prod(GRIDS[SLICE]) * sigmoid_ramp(since, 0.4))


def test_a_patch_too_small_to_cut_has_nothing_to_contrast(batch_of) -> None:
    method = build((16, 16))
    term = method(batch_of(method, (16, 16)), 0.0)["cross_level"]
    assert term.n_valid == 0
    assert term.value.item() == 0


def test_crops_keep_two_positions_at_the_bottleneck_of_the_deepest_networks(batch_of) -> None:
    """An instance norm refuses a single one."""
    assert crop_grid((64, 64), [16, 8]) == [2, 4]
    assert crop_grid((64, 16), [16, 16]) == [2, 1]
    method = build_method(Config(method="cross_level", size="large"), 1, 2, (64, 64))
    with torch.no_grad():
        assert set(method(batch_of(method, (64, 64), 1, 1), 0.0)) == {"supervised", "cross_level"}


def test_without_unlabelled_patches_there_are_no_monitors_of_them(batch_of) -> None:
    method = build(SLICE)
    toy = batch_of(method, SLICE)
    method({"image": toy["image"], "label": toy["label"]}, 1.0)
    assert method.monitors == {}
