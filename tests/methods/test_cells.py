"""What a cell of a feature map has of its voxels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lib.methods.cells import cell_classes, cell_probabilities


@pytest.mark.parametrize("grid", [(4, 3, 5), (4, 6)], ids=["3D", "2D"])
def test_a_cell_has_a_class_where_all_its_voxels_have_it(grid: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    cells = rng.integers(-1, 3, (2, *grid))
    classes = np.kron(cells, np.ones((1, *(2 for _ in grid)), dtype=int))
    classes[rng.random(classes.shape) < 0.1] = 1
    found = cell_classes(torch.tensor(classes)[:, None], grid).numpy()
    assert found.shape == cells.shape
    for image, *place in np.ndindex(found.shape):
        inside = classes[(image, *(slice(2 * k, 2 * k + 2) for k in place))]
        assert found[(image, *place)] == (inside.flat[0] if (inside == inside.flat[0]).all() else -1)
    assert set(found.flat) == {-1, 0, 1, 2}
    assert (found != cells).any()


def test_features_at_full_resolution_keep_every_class() -> None:
    classes = torch.randint(-1, 3, (2, 1, 5, 7))
    assert torch.equal(cell_classes(classes, (5, 7)), classes[:, 0])


def test_a_cell_has_the_mean_probabilities_of_its_voxels() -> None:
    logits = np.random.default_rng(0).normal(size=(2, 3, 4, 6))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = p.reshape(2, 3, 2, 2, 3, 2).mean((3, 5))
    found = cell_probabilities(torch.tensor(logits, dtype=torch.float32, requires_grad=True), (2, 3))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)
