"""Networks by name and size, for cubes and for thick slices."""

from __future__ import annotations

import pytest
import torch

from lib.networks.factory import RESIDUAL_UNITS, SMALLEST_EDGE, WIDTHS, build_network, strides


@pytest.mark.parametrize("size", WIDTHS)
@pytest.mark.parametrize("name", RESIDUAL_UNITS)
def test_every_network_of_every_size_gives_a_logit_a_class_and_voxel(name: str, size: str) -> None:
    network = build_network(name, size, channels=2, classes=3, patch=(16, 16, 8))
    with torch.inference_mode():
        assert network(torch.randn(1, 2, 16, 16, 8)).shape == (1, 3, 16, 16, 8)


def test_larger_sizes_have_more_weights_and_residual_units_add_some() -> None:
    def weights(name: str, size: str) -> int:
        return sum(weight.numel() for weight in build_network(name, size, 1, 2, (32, 32, 32)).parameters())

    assert weights("residual_unet", "small") < weights("residual_unet", "medium") < weights("residual_unet", "large")
    assert weights("unet", "small") < weights("residual_unet", "small")


@pytest.mark.parametrize(
    ("patch", "levels", "expected"),
    [
        ((56, 56, 40), 3, [(2, 2, 2), (2, 2, 2), (2, 2, 2)]),
        ((64, 64, 8), 3, [(2, 2, 2), (2, 2, 1), (2, 2, 1)]),  # thick slices
        ((32, 32, 1), 3, [(2, 2, 1), (2, 2, 1), (2, 2, 1)]),
        ((12, 20, 10), 2, [(2, 2, 2), (1, 2, 1)]),  # 6 is too short to halve, 5 is odd
    ],
)
def test_an_axis_is_halved_while_it_is_even_and_long_enough(patch: tuple, levels: int, expected: list) -> None:
    assert strides(patch, levels) == expected


@pytest.mark.parametrize("patch", [(32, 32, 8), (24, 16, 1), (20, 12, 10), (9, 16, 16)])
def test_patches_of_uneven_edges_come_out_as_they_went_in(patch: tuple[int, ...]) -> None:
    network = build_network("residual_unet", "small", 1, 2, patch)
    with torch.inference_mode():
        assert network(torch.randn(1, 1, *patch)).shape == (1, 2, *patch)
    edges = torch.tensor(patch)
    for step in strides(patch, 3):
        edges = edges // torch.tensor(step)
    assert all(edge >= min(SMALLEST_EDGE, whole) for edge, whole in zip(edges, patch, strict=True))


def test_a_sample_does_not_depend_on_its_neighbours_in_the_batch() -> None:
    network = build_network("residual_unet", "small", 1, 2, (16, 16, 16)).train()
    one, other = torch.randn(2, 1, 1, 16, 16, 16)
    together = network(torch.cat([one, 5 + other]))
    torch.testing.assert_close(together[:1], network(one), rtol=1e-4, atol=1e-4)
