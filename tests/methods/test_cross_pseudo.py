"""Cross pseudo supervision: who teaches whom, from which view, on which voxels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from lib.config import Config
from lib.methods.base import Method, sigmoid_ramp, total
from lib.methods.registry import build_method

PATCH = (16, 16, 8)


def build(networks: list[nn.Module] | None = None, **settings: Any) -> Method:
    method = build_method(Config(method="cross_pseudo", size="small", **settings), 1, 2, PATCH)
    if networks:
        method.networks = nn.ModuleList(networks)
    return method


def test_the_weight_of_the_cross_term_is_ramped(batch_of) -> None:
    method = build(consistency=0.5, ramp=0.4)
    for progress in (0.0, 0.1, 0.4, 1.0):
        weight = method(batch_of(method), progress)["cross"].weight
        assert weight == pytest.approx(0.5 * sigmoid_ramp(progress, 0.4))


@pytest.mark.parametrize(("student", "teacher"), [(0, 1), (1, 0)])
def test_a_network_learns_the_labels_of_the_other_and_teaches_without_learning(
    student: int, teacher: int, batch_of
) -> None:
    """The teacher says class 1 everywhere: a student that follows it, and not itself, comes to say so too."""
    method = build()
    last = list(method.networks[teacher].parameters())[-1]  # the bias of the logits
    with torch.no_grad():
        for weight in method.networks[teacher].parameters():
            weight.zero_()
        last.copy_(torch.tensor([-5.0, 5.0]))
    method.networks[teacher].requires_grad_(False)
    toy = batch_of(method)
    optimizer = torch.optim.AdamW(method.networks[student].parameters(), 1e-2)
    for _ in range(15):
        optimizer.zero_grad()
        method(toy, 1.0)["cross"].value.backward()
        optimizer.step()
    assert all(weight.grad is None for weight in method.networks[teacher].parameters())
    assert (method.networks[student](toy["weak"]).argmax(1) == 1).float().mean() > 0.95


def test_each_network_sees_a_strong_view_of_its_own_and_no_gradient_passes_the_weak_one(batch_of) -> None:
    method = build()
    toy = batch_of(method)
    toy["weak"].requires_grad_()
    toy["strong"].requires_grad_()
    lessons = method.lessons(toy)
    for branch, lesson in enumerate(lessons):
        (gradient,) = torch.autograd.grad(lesson.logits[1].square().sum(), toy["strong"], retain_graph=True)
        assert [bool(each.any()) for each in gradient] == [branch == 0, branch == 1]
    method.terms(lessons, toy["label"], 1.0)["cross"].value.backward()
    assert toy["weak"].grad is None


def test_a_lesson_is_what_the_other_network_said_mixed_as_the_view_is(batch_of) -> None:
    method = build()
    toy = batch_of(method, unlabelled=4)
    with torch.no_grad():
        said = [network(toy["weak"]).softmax(1) for network in method.networks]
    for lesson, taught in zip(method.lessons(toy), reversed(said), strict=True):
        neighbour = taught[[1, 0, 3, 2]]
        expected = torch.where(toy["mix"], neighbour, taught)
        assert torch.equal(lesson.pseudo.label, expected.argmax(1, keepdim=True))
        torch.testing.assert_close(lesson.pseudo.certainty, expected.amax(1, keepdim=True))


def test_pseudo_labels_are_mixed_as_the_view_of_the_students_is(batch_of, threshold) -> None:
    """Two sure and equal networks agree on every voxel, unless view and pseudo-label were mixed differently."""
    method = build([threshold(), threshold()])
    toy = batch_of(method)
    toy["strong"] = toy["weak"].expand(method.strong_views, *toy["weak"].shape)
    mixed = method(toy, 1.0)["cross"]
    assert mixed.value.item() < 0.02
    assert mixed.n_valid > 0
    unmixed = method(toy | {"mix": torch.zeros_like(toy["mix"])}, 1.0)["cross"]
    assert unmixed.value.item() < 0.02


def test_pseudo_labels_come_from_the_weak_view(batch_of, threshold) -> None:
    """Strong views that show the contrary are learnt to mean what the weak one shows."""
    method = build([threshold(), threshold()])
    toy = batch_of(method)
    toy["strong"] = -toy["weak"].expand(method.strong_views, *toy["weak"].shape)
    assert method(toy, 1.0)["cross"].value.item() > 10


def test_without_unlabelled_patches_it_is_supervised(batch_of) -> None:
    method = build()
    toy = batch_of(method)
    full = method(toy, 1.0)
    terms = method({"image": toy["image"], "label": toy["label"]}, 1.0)
    assert list(terms) == ["supervised"]
    torch.testing.assert_close(terms["supervised"].value, full["supervised"].value, rtol=1e-4, atol=1e-4)


def test_a_gate_that_trusts_no_voxel_is_a_skipped_term_of_finite_zero(batch_of, threshold) -> None:
    method = build([threshold(0.0), threshold(0.0)], confidence=0.9)  # one half for each class, everywhere
    term = method(batch_of(method), 1.0)["cross"]
    assert term.n_valid == 0
    assert term.value.item() == 0
    term.value.backward()
    assert all(torch.isfinite(weight.grad).all() for weight in method.parameters())


def test_the_gate_leaves_out_the_voxels_below_it(batch_of, threshold) -> None:
    method, open_gate = (build([threshold(), threshold()], confidence=gate) for gate in (0.99, 0.0))
    toy = batch_of(method)
    toy["weak"][:, :, :8] = 0.0  # a half of the voxels is as good as tossed up
    unsure = 2 * int((toy["weak"].abs() * 100 < torch.tensor(99.0).log()).sum())  # of both networks
    assert open_gate(toy, 1.0)["cross"].n_valid == 2 * toy["weak"].numel()
    assert method(toy, 1.0)["cross"].n_valid == 2 * toy["weak"].numel() - unsure


def test_one_unlabelled_patch_has_no_partner_and_still_teaches(batch_of) -> None:
    method = build()
    terms = method(batch_of(method, unlabelled=1), 1.0)
    assert terms["cross"].n_valid > 0
    assert torch.isfinite(total(terms))
