"""The moving average by its formula, and that nothing is learnt by it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lib.methods.teacher import Teacher


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.InstanceNorm2d(4, affine=True), nn.Conv2d(4, 2, 1))


@pytest.mark.parametrize("decay", [0.0, 0.6, 0.99])
def test_it_follows_by_the_formula_and_leaves_the_beginning_behind_faster(decay: float) -> None:
    """Of step t stays min(decay, (t + 1) / (t + 2)): a mean of all weights so far, until the decay is less."""
    student = network()
    teacher = Teacher(student, decay)
    weights = [weight.detach().double().clone() for weight in student.parameters()]
    everything = [[weight] for weight in weights]
    for step in range(8):
        with torch.no_grad():
            for weight in student.parameters():
                weight.add_(torch.randn_like(weight))
        teacher.follow(student, step)
        stays = min(decay, (step + 1) / (step + 2))
        for place, weight in enumerate(student.parameters()):
            weights[place] = stays * weights[place] + (1 - stays) * weight.detach().double()
            everything[place].append(weight.detach().double().clone())
    for averaged, expected, seen in zip(teacher.network.parameters(), weights, everything, strict=True):
        torch.testing.assert_close(averaged.double(), expected, rtol=1e-4, atol=1e-5)
        if decay == 0.99:
            torch.testing.assert_close(averaged.double(), torch.stack(seen).mean(0), rtol=1e-4, atol=1e-5)


def test_it_is_a_copy_whose_weights_are_its_own_and_begin_anew_with_a_copy() -> None:
    student = network()
    teacher = Teacher(student, 0.9)
    before = [weight.clone() for weight in teacher.network.parameters()]
    with torch.no_grad():
        for weight in student.parameters():
            weight.add_(1)
    assert all(map(torch.equal, teacher.network.parameters(), before))
    teacher.copy(student)
    assert all(map(torch.equal, teacher.network.parameters(), student.parameters()))


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_move_takes_this_share(share: float) -> None:
    student, other = network(), network()
    teacher = Teacher(student, 0.9)
    teacher.move(other, share)
    for moved, old, new in zip(teacher.network.parameters(), student.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(moved, (1 - share) * old.detach() + share * new.detach())


def test_its_answers_are_probabilities_without_a_gradient() -> None:
    student = network()
    teacher, x = Teacher(student, 0.9), torch.randn(2, 1, 6, 6, requires_grad=True)
    found = teacher(x)
    assert not found.requires_grad
    assert not any(weight.requires_grad for weight in teacher.parameters())
    assert all(weight.requires_grad for weight in student.parameters())
    torch.testing.assert_close(found, student(x).softmax(1))
    with torch.autocast("cpu", torch.bfloat16):
        assert teacher(x).dtype == torch.float32
