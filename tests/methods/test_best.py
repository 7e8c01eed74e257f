"""The strongest composition: mutual teaching on patches that exchanged boxes with labelled ones."""

from __future__ import annotations

import pytest
import torch

from lib.config import Config
from lib.methods.base import sigmoid_ramp
from lib.methods.best import Best
from lib.methods.pasting import Pasted
from lib.methods.pseudo import PseudoLabel
from lib.methods.registry import build_method

PATCH = (16, 16, 8)


def build(**settings) -> Best:
    method = build_method(Config(method="best", size="small", **settings), 1, 2, PATCH)
    assert isinstance(method, Best)
    return method


@pytest.mark.parametrize(("labelled", "unlabelled"), [(2, 2), (3, 2), (2, 4)])
def test_each_network_learns_its_mixed_patches_with_the_labels_of_the_other(labelled, unlabelled, batch_of) -> None:
    method = build(consistency=0.5, ramp=0.4, confidence=0.51)
    toy = batch_of(method, labelled=labelled, unlabelled=unlabelled)
    terms, supervised, cross, trusted = method(toy, 0.2), [], [], 0
    for student, teacher in ((0, 1), (1, 0)):
        pseudo = PseudoLabel.of(method.networks[teacher](toy["weak"]).softmax(1), 0.51)
        mixed = Pasted.of(toy["image"], toy["label"], toy["strong"][student], pseudo, toy["mix"])
        losses = mixed.losses(method.networks[student](mixed.image))
        supervised.append(losses[0])
        cross.append(losses[1])
        trusted += int(mixed.trusted.sum())
    torch.testing.assert_close(terms["supervised"].value, sum(supervised) / 2, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(terms["cross"].value, sum(cross) / 2, rtol=1e-4, atol=1e-5)
    assert terms["cross"].weight == pytest.approx(0.5 * sigmoid_ramp(0.2, 0.4))
    assert terms["cross"].n_valid == trusted


def test_no_gradient_passes_the_weak_view(batch_of) -> None:
    method = build()
    toy = batch_of(method)
    toy["weak"].requires_grad_()
    sum(term.value for term in method(toy, 1.0).values()).backward()
    assert toy["weak"].grad is None
