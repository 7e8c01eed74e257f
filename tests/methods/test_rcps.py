"""RCPS: which view teaches, which agree, where the negatives come from."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import avg_pool3d

from lib.config import Config
from lib.losses.rectified import cosine_consistency, rectified_pseudo_supervision
from lib.methods import rcps
from lib.methods.base import sigmoid_ramp
from lib.methods.rcps import LEVEL, NEGATIVES, RCPS
from lib.methods.registry import build_method

PATCH = (16, 16, 8)


def build(**settings) -> RCPS:
    method = build_method(Config(method="rcps", size="small", **settings), 1, 2, PATCH)
    assert isinstance(method, RCPS)
    return method


@torch.no_grad()
def say_both_classes(method: RCPS, image: torch.Tensor) -> None:
    """An untrained network may say one class everywhere, and then no cell has a negative: even its two out."""
    background, foreground = method.networks[0](image).unbind(1)
    method.networks[0].decoder.head.layer.bias[1] -= (foreground - background).median()


def test_its_terms_on_the_three_views(batch_of) -> None:
    method = build(consistency=0.5, ramp=0.4)
    toy = batch_of(method)
    terms = method(toy, 0.1)
    original, first, second = (method.networks[0](x) for x in (toy["weak"], *toy["strong"]))
    rectified = (rectified_pseudo_supervision(first, original) + rectified_pseudo_supervision(second, original)) / 2
    torch.testing.assert_close(terms["rectified"].value, rectified, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(terms["cosine"].value, cosine_consistency(first, second), rtol=1e-3, atol=1e-6)
    ramp = sigmoid_ramp(0.1, 0.4)
    weights = [terms[name].weight for name in ("supervised", "rectified", "cosine", "voxel_contrast")]
    assert weights == pytest.approx([1, 0.5 * ramp, 0.5 * ramp, 0.1 * ramp])


def test_the_original_teaches_and_gets_no_gradient(batch_of) -> None:
    method = build()
    toy = batch_of(method)
    say_both_classes(method, torch.cat([toy["image"], toy["weak"]]))
    toy["weak"].requires_grad_()
    toy["strong"].requires_grad_()
    for name, term in method(toy, 1.0).items():
        (gradient,) = torch.autograd.grad(term.value, toy["strong"], retain_graph=True)
        assert bool(gradient.any()) == (name != "supervised"), name
        assert toy["weak"].grad is None
    toy["weak"].grad = None
    sum(term.value for term in method(toy, 1.0).values()).backward()
    assert toy["weak"].grad is None


def test_negatives_are_confident_labelled_voxels_of_other_classes(batch_of, monkeypatch) -> None:
    method, asked = build(), []
    exact = rcps.voxel_contrast
    monkeypatch.setattr(rcps, "voxel_contrast", lambda *parts: asked.append(parts) or exact(*parts))
    toy = batch_of(method, labelled=3)
    say_both_classes(method, torch.cat([toy["image"], toy["weak"]]))
    toy["image"].requires_grad_()
    term = method(toy, 1.0)["voxel_contrast"]
    first, second, classes, others, (indices, exists), _ = asked[0]
    network = method.networks[0]

    def voxels(x: torch.Tensor) -> torch.Tensor:
        return x.movedim(1, -1).flatten(0, -2)

    for found, view in ((others, toy["image"]), (first, toy["strong"][0]), (second, toy["strong"][1])):
        expected = voxels(method.head(network.decode(view).features[LEVEL]))
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    edges = network.decode(toy["image"]).features[LEVEL].shape[2:]
    steps = [edge // n for edge, n in zip(toy["image"].shape[2:], edges, strict=True)]
    known, said = (voxels(avg_pool3d(network(toy[view]).softmax(1), steps)) for view in ("weak", "image"))
    assert torch.equal(classes, known.argmax(1))
    for kind in range(2):
        chosen = said[indices[kind][exists[kind]]]
        assert (chosen.argmax(1) != kind).all()
        free = said[said.argmax(1) != kind].amax(1).sort(descending=True).values[:NEGATIVES]
        torch.testing.assert_close(chosen.amax(1).sort(descending=True).values, free, rtol=1e-4, atol=1e-5)
    (gradient,) = torch.autograd.grad(term.value, toy["image"])
    assert gradient.any()  # as in the source, they are pushed away too
