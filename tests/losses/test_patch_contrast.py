"""Blocks against loops over their voxels, and the loss of blocks against loops over the formula."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch

from lib.losses.patch_contrast import block_classes, block_embeddings, patch_contrast


def toy() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Embeddings of two branches, 2 x 3 blocks of 2 images, and their classes; one block has none."""
    rng = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 2, 4, 2, 3, generator=rng)
    return first, second, torch.tensor([[[0, 0, 1], [-1, 1, 2]], [[0, 2, 2], [0, 1, 0]]])


def oracle(first: torch.Tensor, second: torch.Tensor, classes: torch.Tensor, temperature: float) -> float:
    blocks = []  # vector, class
    for branch in (first.double().numpy(), second.double().numpy()):
        for b, x, y in np.ndindex(*classes.shape):
            if classes[b, x, y] >= 0:
                vector = branch[b, :, x, y]
                blocks.append((vector / np.linalg.norm(vector), int(classes[b, x, y])))
    losses = []
    for i, (anchor, kind) in enumerate(blocks):
        pushing = sum(math.exp(anchor @ v / temperature) for v, other in blocks if other != kind)
        attracting = [math.exp(anchor @ v / temperature) for j, (v, k) in enumerate(blocks) if k == kind and j != i]
        losses.append(np.mean([-math.log(s / (s + pushing)) for s in attracting]))
    return float(np.mean(losses))


@pytest.mark.parametrize("temperature", [0.5, 0.1, 0.05])
def test_the_loss_is_that_of_the_formula(temperature: float) -> None:
    loss, n_valid = patch_contrast(*toy(), temperature)
    assert loss.item() == pytest.approx(oracle(*toy(), temperature), rel=1e-5)
    assert n_valid == 22


def test_branches_and_images_are_interchangeable() -> None:
    first, second, classes = toy()
    expected = patch_contrast(first, second, classes, 0.1)
    torch.testing.assert_close(patch_contrast(second, first, classes, 0.1), expected)
    torch.testing.assert_close(patch_contrast(first.flip(0), second.flip(0), classes.flip(0), 0.1), expected)


def test_a_single_block_of_a_class_has_its_twin_in_the_other_branch() -> None:
    first, second = torch.randn(2, 1, 4, 2)
    assert patch_contrast(first, second, torch.tensor([[0, 1]]), 0.1)[1] == 4


def test_both_branches_learn_but_not_from_blocks_without_a_class() -> None:
    first, second, classes = toy()
    first.requires_grad_(), second.requires_grad_()
    patch_contrast(first, second, classes, 0.1)[0].backward()
    for branch in (first, second):
        assert torch.equal(branch.grad.abs().sum(1) > 0, classes >= 0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", [0, -1], ids=["all background", "none clear"])
def test_without_other_classes_there_is_no_gradient(kind: int, dtype: torch.dtype) -> None:
    first, second = (torch.randn(2, 4, 2, 3, dtype=dtype, requires_grad=True) for _ in range(2))
    loss, n_valid = patch_contrast(first, second, torch.full((2, 2, 3), kind), 0.05)
    loss.backward()
    assert (loss.item(), n_valid) == (0, 0)
    assert not first.grad.any()
    assert not second.grad.any()


def test_blocks_of_background_are_few_whatever_there_is_of_it() -> None:
    classes = torch.zeros(2, 10, 10, dtype=torch.int64)
    classes[0, 0, :3] = 1
    first, second = torch.randn(2, 2, 4, 10, 10)
    assert patch_contrast(first, second, classes, 0.1, most=5)[1] == 2 * (5 + 3)


@pytest.mark.parametrize("block", [(4,), (2, 3), (2, 2, 3)])
def test_blocks_are_those_of_their_voxels(block: tuple[int, ...]) -> None:
    space = (5, 6, 3)[: len(block)]  # the border leaves less than a block
    labels, features = torch.randint(-1, 2, (2, *space)), torch.randn(2, 4, *space)
    classes, embeddings = block_classes(labels, block, 0.6), block_embeddings(features.half(), block)
    counts = [size // of for size, of in zip(space, block, strict=True)]
    assert classes.shape == (2, *counts)
    assert embeddings.shape == (2, 4, *counts)
    assert embeddings.dtype == torch.float32
    for b, *place in np.ndindex(*classes.shape):
        box = tuple(slice(of * at, of * at + of) for at, of in zip(place, block, strict=True))
        voxels = labels[(b, *box)].flatten().tolist()
        kind, count = Counter(voxels).most_common(1)[0]
        assert classes[(b, *place)] == (kind if count / len(voxels) >= 0.6 else -1)
        mean = features[(b, slice(None), *box)].half().double().flatten(1).mean(1)
        torch.testing.assert_close(embeddings[(b, slice(None), *place)].double(), mean, atol=1e-5, rtol=0)


def test_a_block_larger_than_the_map_is_the_map() -> None:
    assert block_embeddings(torch.randn(1, 4, 3, 8), (5, 4)).shape == (1, 4, 1, 2)
    assert block_classes(torch.ones(1, 3, 8), (5, 4), 0.75).tolist() == [[[1, 1]]]
