"""The projection head position by position, the pooling cell by cell."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lib.networks.heads import SIZE, Projection, pool


@pytest.mark.parametrize("space", [(), (5, 4), (4, 3, 2)], ids=["vectors", "2D", "3D"])
def test_a_projection_is_two_matrices_with_a_rectifier_between_at_each_position(space: tuple[int, ...]) -> None:
    head = Projection(6)
    x = torch.randn(2, 6, *space)
    w1, b1, w2, b2 = (weight.detach().double().numpy() for weight in head.parameters())
    found = head(x).detach().numpy()
    assert found.shape == (2, SIZE, *space)
    for row, *place in np.ndindex(2, *space):
        vector = x.double().numpy()[(row, slice(None), *place)]
        expected = w2 @ np.maximum(w1 @ vector + b1, 0) + b2
        np.testing.assert_allclose(found[(row, slice(None), *place)], expected, rtol=1e-4, atol=1e-5)


def test_a_projection_leaves_the_features_it_reads_unchanged() -> None:
    x = torch.randn(1, 6, 4, 4)
    before = x.clone()
    Projection(6)(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize(("size", "cells"), [((8, 6), (4, 2)), ((8, 4, 6), (2, 1, 3))])
def test_pooling_is_the_mean_of_each_cell(size: tuple[int, ...], cells: tuple[int, ...]) -> None:
    x = torch.randn(2, 3, *size)
    found = pool(x, cells)
    assert found.shape == (2, 3, *cells)
    edges = [edge // n for edge, n in zip(size, cells, strict=True)]
    for place in np.ndindex(*cells):
        part = x[(..., *(slice(k * e, (k + 1) * e) for k, e in zip(place, edges, strict=True)))]
        torch.testing.assert_close(found[(..., *place)], part.flatten(2).mean(2))
