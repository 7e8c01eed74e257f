"""Mean teacher: the teacher on the weak view, the student on the strong one, their squared difference."""

from __future__ import annotations

import pytest
import torch

from lib.config import Config
from lib.losses.dice_ce import dice_ce
from lib.methods.base import sigmoid_ramp
from lib.methods.mean_teacher import MeanTeacher, squared_difference
from lib.methods.registry import build_method

PATCH = (16, 16, 8)


def build(**settings) -> MeanTeacher:
    method = build_method(Config(method="mean_teacher", size="small", **settings), 1, 2, PATCH)
    assert isinstance(method, MeanTeacher)
    return method


def shifted(method: MeanTeacher) -> MeanTeacher:
    """Its student has moved since the teacher was copied."""
    with torch.no_grad():
        for weight in method.student.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return method


def test_the_squared_difference_is_summed_over_classes_and_averaged_over_voxels() -> None:
    first, second = (torch.randn(2, 3, 4, 5).softmax(1) for _ in range(2))
    squares = ((first - second).double().numpy() ** 2).sum()
    assert squared_difference(first, second).item() == pytest.approx(squares / (2 * 4 * 5), rel=1e-5)


def test_its_terms_on_the_weak_and_the_strong_view(batch_of) -> None:
    method = shifted(build(consistency=0.5, ramp=0.4))
    toy = batch_of(method)
    terms = method(toy, 0.1)
    teacher, student = method.teacher.network, method.student
    with torch.no_grad():
        expected = squared_difference(student(toy["strong"][0]).softmax(1), teacher(toy["weak"]).softmax(1))
        supervised = dice_ce(student(toy["image"]), toy["label"])
    torch.testing.assert_close(terms["consistency"].value.detach(), expected, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(terms["supervised"].value.detach(), supervised, rtol=1e-4, atol=1e-5)
    assert terms["consistency"].weight == pytest.approx(0.5 * sigmoid_ramp(0.1, 0.4))


def test_the_teacher_learns_nothing_and_no_gradient_passes_the_weak_view(batch_of) -> None:
    method = shifted(build())
    toy = batch_of(method)
    toy["weak"].requires_grad_()
    method(toy, 1.0)["consistency"].value.backward()
    assert toy["weak"].grad is None
    assert all(weight.grad is None for weight in method.teacher.parameters())
    assert all(weight.grad.isfinite().all() for weight in method.student.parameters())
    assert any(weight.grad.any() for weight in method.student.parameters())


def test_it_begins_with_the_weights_that_the_training_starts_from_and_follows_each_step() -> None:
    method = shifted(build(teacher=0.9))
    method.begin()
    assert all(map(torch.equal, method.teacher.network.parameters(), method.student.parameters()))
    before = [weight.clone() for weight in method.teacher.network.parameters()]
    shifted(method)
    method.after_step(100)
    for averaged, old, new in zip(
        method.teacher.network.parameters(), before, method.student.parameters(), strict=True
    ):
        torch.testing.assert_close(averaged, 0.9 * old + 0.1 * new.detach())
