"""Encoder and decoders: shapes at any size, what the two kinds of decoder share and what they do not."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from lib.networks.unet import Block, Decoder, Encoder, Shape, UNet

WIDTHS = (4, 6, 8)


def shape_of(dimensions: int, strides: tuple[tuple[int, ...], ...] | None = None, residual: bool = True) -> Shape:
    halved = ((2,) * dimensions,) * len(WIDTHS)
    return Shape(dimensions, 2, 3, WIDTHS, strides or halved, residual)


def unet(shape: Shape, upsampling: str = "transposed") -> UNet:
    return UNet(shape, Encoder(shape), Decoder(shape, upsampling))


@pytest.mark.parametrize("upsampling", ["transposed", "linear"])
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("size", [(16, 24), (17, 9), (15, 10), (16, 8, 12), (9, 11, 13), (10, 9, 7)])
def test_images_of_any_size_come_out_as_they_went_in(size: tuple[int, ...], residual: bool, upsampling: str) -> None:
    network = unet(shape_of(len(size), residual=residual), upsampling)
    with torch.inference_mode():
        assert network(torch.randn(2, 2, *size)).shape == (2, 3, *size)


@pytest.mark.parametrize(
    ("size", "strides"),
    [
        ((17, 10), ((1, 1), (2, 2), (2, 2))),
        ((16, 12, 5), ((2, 2, 1), (2, 2, 2), (1, 2, 1))),
        ((11, 9, 7), ((2, 2, 2), (2, 1, 1), (2, 2, 1))),
    ],
)
def test_features_are_finest_first_with_the_widths_and_strides_of_the_shape(size: tuple, strides: tuple) -> None:
    network = unet(shape_of(len(size), strides))
    x = torch.randn(1, 2, *size)
    with torch.inference_mode():
        encoded, decoded = network.encoder(x), network.decode(x)
    edges, expected = size, []
    for width, stride in zip(WIDTHS, strides, strict=True):
        edges = tuple(math.ceil(edge / step) for edge, step in zip(edges, stride, strict=True))
        expected.append((1, width, *edges))
    assert [tuple(level.shape) for level in encoded] == expected
    assert [tuple(level.shape) for level in decoded.features] == expected
    assert torch.equal(decoded.features[-1], encoded[-1])  # the bottleneck, where decoding begins
    assert torch.equal(decoded.logits, network(x))


def test_the_two_decoders_are_of_different_architecture_and_fit_the_same_encoder() -> None:
    shape = shape_of(3)
    encoder = Encoder(shape)
    transposed, linear = (UNet(shape, encoder, Decoder(shape, kind)) for kind in ("transposed", "linear"))
    kinds = [
        {type(module) for module in network.decoder.ups.modules() if hasattr(module, "weight")}
        for network in (transposed, linear)
    ]
    assert kinds == [{nn.ConvTranspose3d}, {nn.Conv3d}]
    x = torch.randn(1, 2, 16, 16, 16)
    assert transposed(x).shape == linear(x).shape


@pytest.mark.parametrize("upsampling", ["transposed", "linear"])
def test_every_level_of_the_features_reaches_the_logits(upsampling: str) -> None:
    network = unet(shape_of(2), upsampling)
    features = [level.detach().requires_grad_() for level in network.encoder(torch.randn(1, 2, 16, 16))]
    network.decoder(features, (16, 16)).logits.square().sum().backward()
    assert all(level.grad is not None and level.grad.abs().sum() > 0 for level in features)


def test_beside_a_residual_block_goes_the_average_of_what_it_halves() -> None:
    """With the convolutions silenced what is left is a 1x1 convolution of the mean of each 2 x 2 x 1 voxels."""
    block = Block(shape_of(3), 2, 4, (2, 2, 1))
    x = torch.randn(1, 2, 4, 5, 3)  # the last row of an odd edge is a mean of the voxels there are
    with torch.no_grad():
        block.layers[-2].weight.zero_()
        found = block(x)
        means = torch.stack(
            [x[:, :, a : a + 2, b : b + 2, c].mean((2, 3)) for a in (0, 2) for b in (0, 2, 4) for c in range(3)], -1
        )
        expected = torch.einsum("oi,bin->bon", block.skip[1].weight.flatten(1), means)
    torch.testing.assert_close(found.flatten(2), expected)


def test_without_residuals_nothing_goes_beside_a_block() -> None:
    assert Block(shape_of(2, residual=False), 2, 4).skip is None


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_sample_does_not_depend_on_its_neighbours_in_the_batch(dimensions: int) -> None:
    network = unet(shape_of(dimensions)).train()
    one, other = torch.randn(2, 1, 2, *(16,) * dimensions)
    together = network(torch.cat([one, 5 + 3 * other]))
    torch.testing.assert_close(together[:1], network(one), rtol=1e-4, atol=1e-4)
