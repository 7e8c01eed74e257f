"""Where features are disturbed, which voxels have a class, what queues keep, what contrast does to embeddings."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from lib.config import Config
from lib.methods import cross_pseudo, multiscale
from lib.methods.base import sigmoid_ramp
from lib.methods.cross_pseudo import Lesson
from lib.methods.multiscale import AGREED, ANCHORS, Multiscale, known_classes
from lib.methods.pseudo import PseudoLabel
from lib.methods.registry import build_method
from lib.networks.unet import Decoded

VOLUME, SLICE = (16, 16, 8), (32, 32)
PATCHES = pytest.mark.parametrize("patch", [VOLUME, SLICE], ids=["3D", "2D"])


def build(patch: tuple[int, ...] = VOLUME, **settings) -> Multiscale:
    method = build_method(Config(method="multiscale", size="small", **settings), 1, 2, patch)
    assert isinstance(method, Multiscale)
    return method


def halves(method: Multiscale, batch_of) -> dict:
    """Labelled patches whose first half is foreground, so that blocks of either class are there."""
    toy = batch_of(method, (32, 32, 16))
    toy["image"] -= 2 * toy["label"]
    toy["label"].zero_()[:, :, :16] = 1
    toy["image"] += 2 * toy["label"]
    return toy


def cells_of(maps: Tensor) -> Tensor:
    """The voxels of each 2x2x2 cell, which is one of the finest features: ``(B, 1, ...)`` to ``(cells, 8)``."""
    return maps[:, 0].unfold(1, 2, 2).unfold(2, 2, 2).unfold(3, 2, 2).flatten(4).flatten(0, 3)


@PATCHES
def test_features_are_disturbed_on_the_unlabelled_rows_only(patch: tuple, batch_of, monkeypatch) -> None:
    method, seen = build(patch), []

    def silence(features: list[Tensor]) -> list[Tensor]:
        seen.append(features)
        return [torch.zeros_like(level) for level in features]

    monkeypatch.setattr(cross_pseudo, "perturb", silence)
    toy = batch_of(method, patch, labelled=3, unlabelled=2)
    network, strong = method.networks[0], toy["strong"][0]
    found = method.study(network, toy["image"], strong)
    for given, own in zip(seen[0], network.encoder(strong), strict=True):  # bottleneck and all skips
        torch.testing.assert_close(given, own, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found.logits[:3], network(toy["image"]), rtol=1e-3, atol=1e-4)
    silent = network.decoder([torch.zeros_like(level) for level in seen[0]], patch).logits
    torch.testing.assert_close(found.logits[3:], silent, rtol=1e-3, atol=1e-4)


def test_a_voxel_has_the_class_of_its_label_or_the_one_both_teachers_are_sure_of() -> None:
    rng = np.random.default_rng(0)
    label, first, second = (rng.integers(0, 3, (2, 1, 6, 5)) for _ in range(3))
    sure, other = (rng.uniform(AGREED - 0.2, 1, (2, 1, 6, 5)) for _ in range(2))
    lessons = [
        Lesson(Decoded(torch.empty(0), []), 2, PseudoLabel(torch.tensor(said), torch.tensor(certainty)))
        for said, certainty in ((first, sure), (second, other))
    ]
    found = known_classes(lessons, torch.tensor(label)).numpy()
    np.testing.assert_array_equal(found[:2], label)
    for place in np.ndindex(first.shape):
        agreed = first[place] == second[place] and sure[place] >= AGREED and other[place] >= AGREED
        assert found[2:][place] == (first[place] if agreed else -1)
    assert (found[2:] >= 0).any()


def test_queues_take_sure_anchors_of_labelled_patches_from_both_branches_after_the_loss(batch_of, monkeypatch) -> None:
    """With every voxel an anchor, what is pushed can be told from the logits."""
    method, sure, calls = build(), 0.5, []
    monkeypatch.setattr(multiscale, "SURE", sure)  # untrained networks are sure of nothing
    monkeypatch.setattr(multiscale, "AGREED", sure)
    exact, push, asked = multiscale.pixel_contrast, method.queue.push, []

    def all_voxels(classes: Tensor, hard: Tensor, per_class: int) -> tuple[Tensor, Tensor]:
        asked.append((classes, hard, per_class))
        indices = (classes.flatten() >= 0).nonzero().squeeze(1)
        return indices, classes.flatten()[indices]

    def contrast(anchors: Tensor, kinds: Tensor, keys: Tensor, key_classes: Tensor, temperature: float):
        calls.append(("contrast", anchors, kinds, len(keys)))
        return exact(anchors[::50], kinds[::50], keys, key_classes, temperature)

    def pushed(vectors: Tensor, kinds: Tensor) -> None:
        calls.append(("push", vectors, kinds, 0))
        push(vectors, kinds)

    monkeypatch.setattr(multiscale, "sample_anchors", all_voxels)
    monkeypatch.setattr(multiscale, "pixel_contrast", contrast)
    monkeypatch.setattr(method.queue, "push", pushed)
    toy = batch_of(method)
    toy["label"][0] = 1 - toy["label"][0]
    toy["label"][1, 0, :3] = 1  # so that some cells lie across a border
    lessons = method.lessons(toy)
    method.terms(lessons, toy["label"], 1.0)
    assert [call[0] for call in calls] == ["contrast", "contrast", "push", "push"]
    assert [call[3] for call in calls[:2]] == [0, 0]  # the second branch does not see the first one's as keys
    for lesson, (_, anchors, kinds, _), (_, vectors, fresh, _), (classes, hard, _) in zip(
        lessons, calls[:2], calls[2:], asked, strict=True
    ):
        voxels, own = cells_of(toy["label"]), cells_of(lesson.logits[0].softmax(1).gather(1, toy["label"]))
        pure = (voxels == voxels[:, :1]).all(1)
        label, p = voxels[pure, 0], own[pure].mean(1)
        assert 0 < len(label) < len(pure)
        assert torch.equal(kinds[: len(label)], label)
        assert torch.equal(fresh[: len(label)], torch.where(p >= sure, label, -1))
        assert 0 < (fresh >= 0).sum() < len(label)
        assert len(fresh) > len(label)
        assert (fresh[len(label) :] == -1).all()
        assert torch.equal(vectors, anchors.detach())
        assert not vectors.requires_grad
        assert torch.equal(hard[classes >= 0][: len(label)], p < sure)
        assert not hard[classes < 0].any()
    expected = sum(torch.stack([(fresh == kind).sum() for kind in range(2)]) for _, _, fresh, _ in calls[2:])
    assert torch.equal(method.queue.filled, expected.clamp(max=multiscale.QUEUE))


def test_anchors_are_bounded_and_the_queues_are_keys_of_the_next_step(batch_of, monkeypatch) -> None:
    method, seen = build(), []
    monkeypatch.setattr(multiscale, "SURE", 0.0)
    exact = multiscale.pixel_contrast
    monkeypatch.setattr(multiscale, "pixel_contrast", lambda *parts: seen.append(parts) or exact(*parts))
    toy = batch_of(method)
    for _ in range(2):
        method(toy, 1.0)
    assert all(len(parts[0]) <= 2 * ANCHORS for parts in seen)
    assert [len(parts[2]) > 0 for parts in seen] == [False, False, True, True]
    assert torch.equal(seen[2][2], seen[3][2])


@pytest.mark.parametrize("term", ["pixel_contrast", "patch_contrast"])
def test_the_contrast_alone_pulls_a_class_together_and_pushes_classes_apart(term: str, batch_of) -> None:
    torch.manual_seed(0)
    method = build((32, 32, 16))
    toy = halves(method, batch_of)
    inside = toy["label"][:, 0, ::2, ::2, ::2].flatten() == 1

    @torch.no_grad()
    def cosines() -> list[tuple[float, float]]:
        found = []
        for network in method.networks:
            embedded = method.head(network.decode(toy["image"]).features[0])
            unit = normalize(embedded.movedim(1, -1).flatten(0, -2))
            one, other = unit[inside], unit[~inside]
            same = ((one @ one.T).mean() + (other @ other.T).mean()) / 2
            found.append((float(same), float((one @ other.T).mean())))
        return found

    before = cosines()
    optimizer = torch.optim.AdamW([weight for weight in method.parameters() if weight.requires_grad], 5e-3)
    for _ in range(12):
        optimizer.zero_grad()
        method(toy, 1.0)[term].value.backward()
        optimizer.step()
    for (same, different), (same_now, different_now) in zip(before, cosines(), strict=True):
        assert same_now - different_now > same - different + 0.2
        assert different_now < different


def test_the_weights_of_the_contrast_rise_along_the_ramp(batch_of) -> None:
    method = build((32, 32, 16), contrast=0.3, ramp=0.5)
    terms = method(halves(method, batch_of), 0.2)
    for name in ("pixel_contrast", "patch_contrast"):
        assert terms[name].weight == pytest.approx(0.3 * sigmoid_ramp(0.2, 0.5))
        assert terms[name].n_valid > 0
