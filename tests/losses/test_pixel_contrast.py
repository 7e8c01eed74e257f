"""Which voxels become anchors, what the queue keeps, and the loss against loops over the formula."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lib.losses.pixel_contrast import ClassQueue, draw, embeddings_at, pixel_contrast, sample_anchors

EMPTY = torch.zeros(0, 5), torch.zeros(0, dtype=torch.int64)


def toy() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Embeddings and classes of 8 anchors, keys and classes of a queue of 6."""
    rng = torch.Generator().manual_seed(0)
    classes = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2])
    return torch.randn(8, 5, generator=rng), classes, torch.randn(6, 5, generator=rng), torch.tensor([0, 0, 1, 1, 3, 3])


def oracle(
    embeddings: torch.Tensor, classes: torch.Tensor, keys: torch.Tensor, key_classes: torch.Tensor, temperature: float
) -> float:
    """Anchor by anchor: all other voxels of its class attract, those of other classes repel."""
    vectors = torch.cat([embeddings, keys]).double().numpy()
    vectors = [v / np.linalg.norm(v) for v in vectors]
    kinds = [*classes.tolist(), *key_classes.tolist()]
    losses = []
    for i in range(len(embeddings)):
        s = [math.exp(float(vectors[i] @ v) / temperature) for v in vectors]
        others = [j for j in range(len(vectors)) if j != i]
        pushing = sum(s[j] for j in others if kinds[j] != kinds[i])
        each = [-math.log(s[j] / (s[j] + pushing)) for j in others if kinds[j] == kinds[i]]
        losses += [sum(each) / len(each)] if each and pushing else []
    return float(np.mean(losses))


@pytest.mark.parametrize("temperature", [0.5, 0.1, 0.05])
@pytest.mark.parametrize("queue", [True, False])
def test_the_loss_is_that_of_the_formula(temperature: float, queue: bool) -> None:
    embeddings, classes, *keys = toy()
    keys = keys if queue else EMPTY
    loss, n_valid = pixel_contrast(embeddings, classes, *keys, temperature)
    assert loss.item() == pytest.approx(oracle(embeddings, classes, *keys, temperature), rel=1e-5)
    assert n_valid == 8


def test_the_order_of_the_voxels_does_not_matter() -> None:
    embeddings, classes, keys, key_classes = toy()
    order, other = torch.randperm(8), torch.randperm(6)
    shuffled = pixel_contrast(embeddings[order], classes[order], keys[other], key_classes[other], 0.1)
    torch.testing.assert_close(shuffled, pixel_contrast(*toy(), 0.1))


def test_the_anchors_learn_and_the_queue_does_not() -> None:
    embeddings, classes, keys, key_classes = toy()
    embeddings.requires_grad_(), keys.requires_grad_()
    pixel_contrast(embeddings, classes, keys, key_classes, 0.1)[0].backward()
    assert embeddings.grad.abs().sum(1).all()
    assert keys.grad is None


@pytest.mark.parametrize("kinds", [[0] * 8, [0, 1, 2, 3, 4, 5, 6, 7], []], ids=["one class", "single voxels", "none"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_without_positives_or_negatives_there_is_no_gradient(kinds: list[int], dtype: torch.dtype) -> None:
    embeddings = torch.randn(len(kinds), 5, dtype=dtype, requires_grad=True)
    loss, n_valid = pixel_contrast(embeddings, torch.tensor(kinds, dtype=torch.int64), *EMPTY, 0.05)
    loss.backward()
    assert (loss.item(), n_valid) == (0, 0)
    assert not embeddings.grad.any()


def test_no_class_has_more_anchors_than_its_share_and_half_of_them_are_hard() -> None:
    rng = torch.Generator().manual_seed(0)
    labels = torch.zeros(2, 12, 12, 12, dtype=torch.int64)
    labels[0, :4], labels[1, 0, 0, :3], labels[1, 5] = 1, 2, -1
    hard = torch.rand(labels.shape, generator=rng) < 0.02
    indices, classes = sample_anchors(labels, hard, 20, rng)
    assert torch.bincount(classes).tolist() == [20, 20, 3], "the three voxels of class 2 are all there is"
    assert torch.equal(classes, labels.flatten()[indices])
    assert len(indices.unique()) == len(indices)
    for kind in (0, 1):
        difficult = hard.flatten()[indices[classes == kind]]
        assert difficult[:10].all()
        assert difficult.sum() < 15, "the other half is drawn from all voxels"


def test_where_hard_voxels_are_few_others_take_their_place() -> None:
    labels, hard = torch.zeros(1, 10, 10, dtype=torch.int64), torch.zeros(1, 10, 10, dtype=torch.bool)
    hard[0, 3, 4] = True
    indices, _ = sample_anchors(labels, hard, 8)
    assert 34 in indices
    assert len(indices.unique()) == 8
    assert len(sample_anchors(labels, ~hard, 99)[0].unique()) == 99, "no voxel is drawn as a hard one and again"
    assert len(sample_anchors(labels, hard, 1)[0]) == 1
    assert len(sample_anchors(labels, None, 8)[0]) == 8


def test_nothing_to_use_gives_no_anchors() -> None:
    indices, classes = sample_anchors(torch.full((2, 4, 4), -1), torch.ones(2, 4, 4, dtype=torch.bool), 5)
    assert len(indices) == len(classes) == 0
    assert embeddings_at(torch.zeros(2, 3, 4, 4), indices).shape == (0, 3)


def test_the_same_random_state_draws_the_same_voxels() -> None:
    assert torch.equal(draw(1000, 7, torch.Generator().manual_seed(3)), draw(1000, 7, torch.Generator().manual_seed(3)))
    torch.manual_seed(3)
    assert torch.equal(draw(1000, 7), draw(1000, 7, torch.Generator().manual_seed(3)))
    assert not torch.equal(draw(1000, 7), draw(1000, 7))


def test_each_voxel_is_drawn_about_as_often_and_never_twice() -> None:
    rng = torch.Generator().manual_seed(0)
    often = torch.zeros(11)
    for _ in range(3000):
        drawn = draw(11, 4, rng)
        assert len(drawn.unique()) == 4
        often[drawn] += 1
    torch.testing.assert_close(often, torch.full((11,), 3000 * 4 / 11), rtol=0.1, atol=0)
    assert draw(3, 4).tolist() == [0, 1, 2]


def test_embeddings_are_those_of_the_flattened_places() -> None:
    features = torch.randn(2, 5, 3, 4, 2)
    indices = torch.tensor([0, 7, 24, 47])
    expected = torch.stack([features.movedim(1, -1).reshape(-1, 5)[i] for i in indices])
    assert torch.equal(embeddings_at(features, indices), expected)


def test_the_queue_keeps_the_last_of_each_class() -> None:
    queue = ClassQueue(classes=3, length=4, dimension=2)
    seen: dict[int, list[list[float]]] = {0: [], 1: [], 2: []}
    rng = torch.Generator().manual_seed(0)
    for count in (3, 0, 9, 2):
        embeddings = torch.randn(count, 2, generator=rng).requires_grad_()
        classes = torch.randint(-1, 2, (count,), generator=rng)
        queue.push(embeddings, classes)
        for vector, kind in zip(embeddings.tolist(), classes.tolist(), strict=True):
            if kind >= 0:
                seen[kind] = [*seen[kind], vector][-4:]
        keys, kinds = queue.keys()
        assert not keys.requires_grad
        for kind, expected in seen.items():
            assert sorted(keys[kinds == kind].tolist()) == sorted(expected)
    assert queue.filled.tolist() == [len(seen[kind]) for kind in range(3)]
    assert len(seen[0]) == 4, "it overflowed"


def test_the_queue_keeps_out_what_overflowed_and_is_part_of_the_checkpoint() -> None:
    queue = ClassQueue(classes=2, length=4, dimension=2)
    queue.push(torch.tensor([[1, 2], [torch.inf, 0], [torch.nan, 0]], dtype=torch.float16), torch.tensor([1, 1, 0]))
    other = ClassQueue(classes=2, length=4, dimension=2)
    other.load_state_dict(queue.state_dict())
    keys, kinds = other.keys()
    assert (keys.tolist(), kinds.tolist()) == ([[1.0, 2.0]], [1])
    keys.zero_()
    assert queue.keys()[0].any(), "keys are copies"
