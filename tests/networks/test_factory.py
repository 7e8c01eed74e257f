"""Networks by name and size, for cubes, thick slices and 2D; two branches over one encoder."""

from __future__ import annotations

import pytest
import torch

from lib.networks.factory import (
    RESIDUAL,
    SMALLEST_EDGE,
    WIDTHS,
    build_branches,
    build_network,
    network_shape,
    strides,
)


@pytest.mark.parametrize("patch", [(16, 16, 8), (32, 32)], ids=["3D", "2D"])
@pytest.mark.parametrize("size", WIDTHS)
@pytest.mark.parametrize("name", RESIDUAL)
def test_every_network_of_every_size_gives_a_logit_a_class_and_voxel(name: str, size: str, patch: tuple) -> None:
    network = build_network(name, size, channels=2, classes=3, patch=patch)
    with torch.inference_mode():
        assert network(torch.randn(1, 2, *patch)).shape == (1, 3, *patch)


def test_larger_sizes_have_more_weights_and_residuals_add_some() -> None:
    def weights(name: str, size: str) -> int:
        return sum(weight.numel() for weight in build_network(name, size, 1, 2, (32, 32, 32)).parameters())

    assert weights("unet", "small") < weights("unet", "medium") < weights("unet", "large")
    assert weights("unet", "small") < weights("residual_unet", "small")


@pytest.mark.parametrize(
    ("patch", "levels", "expected"),
    [
        ((56, 56, 40), 3, [(2, 2, 2), (2, 2, 2), (2, 2, 2)]),
        ((64, 64, 8), 3, [(2, 2, 2), (2, 2, 1), (2, 2, 1)]),  # thick slices
        ((32, 32, 1), 3, [(2, 2, 1), (2, 2, 1), (2, 2, 1)]),
        ((12, 20, 10), 2, [(2, 2, 2), (1, 2, 1)]),  # 6 is too short to halve, 5 is odd
        ((64, 24), 3, [(2, 2), (2, 2), (2, 1)]),  # halved once more, 6 would become 3
    ],
)
def test_an_axis_is_halved_while_it_is_even_and_long_enough(patch: tuple, levels: int, expected: list) -> None:
    assert strides(patch, levels) == expected


@pytest.mark.parametrize(
    ("size", "patch", "first"),
    [
        ("small", (32, 32, 32), (2, 2, 2)),
        ("medium", (32, 32, 16), (2, 2, 2)),
        ("large", (32, 32, 32), (1, 1, 1)),
        ("small", (64, 64), (2, 2)),
        ("large", (64, 64), (1, 1)),
    ],
)
def test_whole_patches_are_convolved_where_that_is_affordable(size: str, patch: tuple, first: tuple) -> None:
    shape = network_shape("unet", size, 1, 2, patch)
    assert shape.strides[0] == first
    levels = len(WIDTHS[size]) + (len(patch) == 2)  # slices are larger than patches
    assert len(shape.strides) == len(shape.widths) == levels
    rest = [edge // step for edge, step in zip(patch, first, strict=True)]
    assert list(shape.strides[1:]) == strides(rest, levels - 1)


@pytest.mark.parametrize("patch", [(32, 32, 8), (24, 16, 1), (20, 12, 10), (9, 16, 16), (35, 20)])
def test_patches_of_uneven_edges_come_out_as_they_went_in(patch: tuple[int, ...]) -> None:
    network = build_network("unet", "small", 1, 2, patch)
    with torch.inference_mode():
        assert network(torch.randn(1, 1, *patch)).shape == (1, 2, *patch)
    edges = torch.tensor(patch)
    for step in network.shape.strides:
        edges = edges // torch.tensor(step)
    assert all(edge >= min(SMALLEST_EDGE, whole) for edge, whole in zip(edges, patch, strict=True))


@pytest.mark.parametrize(("learns", "follows"), [(0, 1), (1, 0)])
def test_a_step_through_either_branch_moves_the_encoder_of_both(learns: int, follows: int) -> None:
    branches = build_branches("unet", "small", 1, 2, (16, 16, 8))
    assert branches[0].encoder is branches[1].encoder
    before = [{key: value.clone() for key, value in branch.state_dict().items()} for branch in branches]
    branches[learns](torch.randn(1, 1, 16, 16, 8)).square().mean().backward()
    torch.optim.SGD(branches[learns].parameters(), 0.1).step()
    moved = {
        key for key, value in branches[follows].state_dict().items() if not torch.equal(value, before[follows][key])
    }
    assert moved
    assert all(key.startswith("encoder.") for key in moved)
    assert any(
        not torch.equal(value, before[learns][key])
        for key, value in branches[learns].decoder.state_dict(prefix="decoder.").items()
    )


def test_the_branches_differ_in_the_architecture_of_their_decoders() -> None:
    shapes = [
        [tuple(weight.shape) for weight in branch.decoder.ups.parameters()]
        for branch in build_branches("unet", "small", 1, 2, (16, 16, 8))
    ]
    assert shapes[0] != shapes[1]
