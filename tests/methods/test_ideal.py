"""Views and where their cells lie, correspondences, the key encoder, and what the second stage inherits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lib.config import Config
from lib.methods import ideal
from lib.methods.ideal import GEOMETRIC, ZOOM, DensePretraining, positions, view
from lib.methods.registry import build_method, build_pretraining

VOLUME, SLICE = (32, 32, 16), (32, 48)
PATCHES = pytest.mark.parametrize("patch", [VOLUME, SLICE], ids=["3D", "2D"])


def build(patch: tuple[int, ...] = VOLUME, **settings) -> DensePretraining:
    method = build_pretraining(Config(method="ideal", size="small", **settings), 1, patch)
    assert isinstance(method, DensePretraining)
    return method


def coordinates(count: int, patch: tuple[int, ...]) -> Tensor:
    """An image of as many channels as axes whose voxels hold their own place, in voxels from the patch's centre."""
    axes = [torch.arange(edge) + 0.5 - edge / 2 for edge in patch]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).expand(count, *(-1,) * (len(patch) + 1)).contiguous()


@PATCHES
def test_the_cells_of_a_view_show_the_places_that_positions_says(patch: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    seen, theta = view(coordinates(16, patch))
    cells = torch.Size(edge // 4 for edge in patch)
    first = seen[(slice(None), slice(None), *[slice(None, None, 4)] * len(patch))]  # what a strided convolution sees
    shown = first.flatten(2).transpose(1, 2).flip(-1)
    found = positions(theta, cells, torch.Size(patch))
    assert found.shape == (16, cells.numel(), len(patch))
    inside = (found.abs() <= torch.tensor(patch[::-1]) / 2 - 3).all(2)  # nearer to the border, it is repeated
    assert inside.float().mean() > 0.5
    torch.testing.assert_close(shown[inside], found[inside], rtol=1e-4, atol=1e-3)


@PATCHES
def test_views_lie_within_the_patch_zoomed_and_mirrored_axis_by_axis(patch: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    seen, theta = view(torch.zeros(400, 1, *patch))
    assert seen.shape == (400, 1, *patch)
    linear, shift = theta[:, :, :-1], theta[:, :, -1]
    scale = linear.diagonal(dim1=1, dim2=2)
    assert torch.equal(torch.diag_embed(scale), linear)
    assert ZOOM[0] <= scale.abs().min() < ZOOM[0] + 0.02
    assert ZOOM[1] - 0.02 < scale.abs().max() <= ZOOM[1]
    assert (scale.abs() + shift.abs()).max() <= 1 + 1e-6
    assert ((scale < 0).float().mean(0) - 0.5).abs().max() < 0.1


def poses(patch: Tensor, *scales: float) -> Tensor:
    """``theta`` of a view that scales each axis so much, the last axis first."""
    return torch.cat([torch.diag(torch.tensor(scales)), torch.zeros(len(scales), 1)], 1).expand(len(patch), -1, -1)


def spied(method: DensePretraining, toy: dict, progress: float, monkeypatch, scales: tuple = ((1, 1, 1),) * 2) -> list:
    """What the loss is asked for views of these poses: query, key, match."""
    asked, left, exact = [], list(scales), ideal.dense_contrast
    monkeypatch.setattr(ideal, "view", lambda patch: (patch, poses(patch, *map(float, left.pop(0)))))
    monkeypatch.setattr(ideal, "dense_contrast", lambda *parts, **more: asked.extend(parts) or exact(*parts, **more))
    method(toy, progress)
    return asked


@pytest.mark.parametrize("mirrored", [(1, 1, 1), (-1, 1, 1), (1, -1, -1)])
def test_by_place_a_cell_goes_with_the_one_that_shows_the_same(mirrored: tuple, batch_of, monkeypatch) -> None:
    method = build(correspondence="geometric")
    match = spied(method, batch_of(method, VOLUME), 1.0, monkeypatch, ((1, 1, 1), mirrored))[2]
    cells = method.networks[0](torch.zeros(1, 1, *VOLUME))[-1].shape[2:]
    steps = [edge // n for edge, n in zip(VOLUME, cells, strict=True)]
    looks = [torch.arange(n) * step for n, step in zip(cells, steps, strict=True)]  # at the first voxel of each cell
    turned = [edge - 1 - at if sign < 0 else at for at, edge, sign in zip(looks, VOLUME, mirrored[::-1], strict=True)]
    query, key = (torch.cartesian_prod(*places).float() for places in (looks, turned))
    distance = (query[:, None] - key[None]).square().sum(2).sqrt()
    expected = distance.argmin(1).masked_fill(distance.amin(1) > ideal.REACH * max(steps), -1)
    assert torch.equal(match, expected.expand(2, -1))
    assert (expected >= 0).float().mean() > 0.5


def test_a_cell_whose_place_the_other_view_does_not_show_has_no_match(batch_of, monkeypatch) -> None:
    method = build(correspondence="geometric")
    toy = batch_of(method, VOLUME)
    match = spied(method, toy, 1.0, monkeypatch, ((1, 1, 1), (0.25, 0.25, 0.25)))[2]
    assert 0 < (match >= 0).float().mean() < 0.7
    assert method.monitors["matched"].item() == pytest.approx((match >= 0).float().mean().item())


def test_by_features_after_a_warm_up_by_place(batch_of, monkeypatch) -> None:
    def how(correspondence: str, progress: float) -> str:
        called: list[str] = []
        with monkeypatch.context() as patched:
            for name in ("nearest_cells", "most_similar_cells"):
                exact = getattr(ideal, name)
                patched.setattr(ideal, name, lambda *a, exact=exact, name=name: called.append(name) or exact(*a))
            method = build(correspondence=correspondence)
            method(batch_of(method, VOLUME), progress)
        return "".join(called)

    assert how("argmax", 0.99 * GEOMETRIC) == "nearest_cells"
    assert how("argmax", GEOMETRIC) == how("argmax", 1.0) == "most_similar_cells"
    assert how("geometric", 1.0) == "nearest_cells"


def test_only_the_query_side_learns_and_the_key_side_follows_it_by_the_moving_average(batch_of) -> None:
    method = build(teacher=0.9)
    toy = batch_of(method, VOLUME)
    method.begin()
    optimizer = torch.optim.SGD([weight for weight in method.parameters() if weight.requires_grad], 0.5)
    pairs = ((method.keys.network, method.networks[0]), (method.key_head.network, method.head))
    expected = [[weight.detach().clone() for weight in student.parameters()] for _, student in pairs]
    for step in range(12):
        optimizer.zero_grad()
        method(toy, 1.0)["dense_contrast"].value.backward()
        optimizer.step()
        method.after_step(step)
        decay = min(0.9, (step + 1) / (step + 2))
        for old, (keys, student) in zip(expected, pairs, strict=True):
            assert all(weight.grad is None for weight in keys.parameters())
            assert any(weight.grad.abs().sum() > 0 for weight in student.parameters())
            for place, weight in enumerate(student.parameters()):
                old[place] = decay * old[place] + (1 - decay) * weight.detach()
            for weight, value in zip(keys.parameters(), old, strict=True):
                torch.testing.assert_close(weight, value, rtol=1e-4, atol=1e-6)


def test_the_keys_begin_as_the_encoder_that_the_training_starts_from() -> None:
    method = build()
    with torch.no_grad():
        for weight in method.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    method.begin()
    x = torch.randn(1, 1, *VOLUME)
    features, keys = method.networks[0](x)[-1], method.keys.network(x)[-1]
    assert torch.equal(features, keys)
    assert torch.equal(method.head(features), method.key_head.network(keys))


@PATCHES
def test_the_second_stage_takes_the_encoder_for_both_its_branches(patch: tuple[int, ...]) -> None:
    first = build(patch)
    second = build_method(Config(method="ideal", size="small"), 1, 3, patch)
    with torch.no_grad():
        for weight in first.networks[0].parameters():
            weight.add_(0.1)
    second.networks[0].encoder.load_state_dict(first.networks[0].state_dict())
    assert second.networks[0].encoder is second.networks[1].encoder
    x = torch.randn(1, 1, *patch)
    for ours, theirs in zip(first.networks[0](x), second.networks[1].encoder(x), strict=True):
        assert torch.equal(ours, theirs)
    assert type(second.networks[0].decoder.ups[-1].layer) is not type(second.networks[1].decoder.ups[-1].layer)
