"""Copy-paste by phase: between labelled patches first, then both ways with the teacher's labels."""

from __future__ import annotations

import pytest
import torch

from lib.config import Config
from lib.losses.dice_ce import dice_ce
from lib.methods.base import sigmoid_ramp
from lib.methods.copy_paste import FIRST_PHASE, UNLABELLED, CopyPaste
from lib.methods.monitors import foreground_dice
from lib.methods.pasting import Pasted
from lib.methods.pseudo import PseudoLabel
from lib.methods.registry import build_method

PATCH = (16, 16, 8)


def build(**settings) -> CopyPaste:
    method = build_method(Config(method="copy_paste", size="small", **settings), 1, 2, PATCH)
    assert isinstance(method, CopyPaste)
    with torch.no_grad():  # the student has moved since the teacher was copied
        for weight in method.student.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return method


@pytest.mark.parametrize("progress", [0.0, 0.99 * FIRST_PHASE])
@pytest.mark.parametrize("labelled", [1, 2, 3, 4])
def test_first_only_labelled_patches_exchange_boxes_in_pairs(progress: float, labelled: int, batch_of) -> None:
    method = build()
    toy = batch_of(method, labelled=labelled)
    toy["label"] = torch.randint(0, 2, toy["label"].shape)
    toy["mix"][1, :, :, :5] = False  # of another pair, another box
    for key in ("weak", "strong"):
        toy[key].fill_(torch.nan)
    terms = method(toy, progress)
    assert set(terms) == {"supervised"}
    image, label = toy["image"].clone(), toy["label"].clone()
    for first in range(0, labelled - 1, 2):
        box = toy["mix"][first // 2, 0]
        for values, given in ((image, toy["image"]), (label, toy["label"])):
            values[first, :, box], values[first + 1, :, box] = given[first + 1, :, box], given[first, :, box]
    torch.testing.assert_close(terms["supervised"].value, dice_ce(method.student(image), label), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("labelled", "unlabelled"), [(2, 2), (3, 2), (2, 4)])
def test_then_both_ways_with_what_the_teacher_says_of_the_weak_view(labelled, unlabelled, batch_of) -> None:
    method = build(consistency=0.5, ramp=0.4, confidence=0.51)
    toy = batch_of(method, labelled=labelled, unlabelled=unlabelled)
    terms = method(toy, 0.2)
    pseudo = PseudoLabel.of(method.teacher(toy["weak"]), 0.51)
    mixed = Pasted.of(toy["image"], toy["label"], toy["strong"][0], pseudo, toy["mix"])
    known, trusted = mixed.losses(method.student(mixed.image))
    torch.testing.assert_close(terms["supervised"].value, known, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(terms["pasted"].value, trusted, rtol=1e-4, atol=1e-5)
    assert terms["pasted"].weight == pytest.approx(UNLABELLED * 0.5 * sigmoid_ramp(0.2, 0.4))
    assert terms["pasted"].n_valid == int(mixed.trusted.sum())


def test_the_second_phase_begins_at_its_share(batch_of) -> None:
    method = build()
    assert set(method(batch_of(method), FIRST_PHASE)) == {"supervised", "pasted"}


def test_the_agreement_is_that_of_teacher_and_student_on_the_whole_unlabelled_patches(batch_of) -> None:
    method = build()
    toy = batch_of(method)
    method(toy, 1.0)
    said = method.teacher(toy["weak"])
    mixed = Pasted.of(toy["image"], toy["label"], toy["strong"][0], PseudoLabel.of(said), toy["mix"])
    found = method.student(mixed.image)
    inside = torch.where(toy["mix"], found[:2], found[2:])
    expected = foreground_dice(said.argmax(1), inside.argmax(1))
    assert method.monitors["agreement"].item() == pytest.approx(expected.item(), abs=1e-3)


def test_a_gate_that_trusts_no_voxel_skips_the_term(batch_of) -> None:
    method = build(confidence=1.0)
    term = method(batch_of(method), 1.0)["pasted"]
    assert term.n_valid == 0
    assert term.value.item() == 0


def test_the_teacher_learns_nothing(batch_of) -> None:
    method = build()
    toy = batch_of(method)
    toy["weak"].requires_grad_()
    method(toy, 1.0)["pasted"].value.backward()
    assert toy["weak"].grad is None
    assert all(weight.grad is None for weight in method.teacher.parameters())
