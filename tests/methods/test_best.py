"""Our composition: who answers, what is taught, and where the features are disturbed."""

from __future__ import annotations

import pytest
import torch

from lib.config import Config
from lib.methods import cross_pseudo
from lib.methods.base import sigmoid_ramp
from lib.methods.best import Best
from lib.methods.pseudo import PseudoLabel
from lib.methods.registry import build_method

PATCH = (16, 16, 8)


def build(**settings) -> Best:
    method = build_method(Config(method="best", size="small", **settings), 1, 2, PATCH)
    assert isinstance(method, Best)
    return method


def test_both_networks_learn_the_mean_answer_of_both_teachers(batch_of, monkeypatch) -> None:
    monkeypatch.setattr(cross_pseudo, "perturb", lambda features: features)
    method = build(consistency=0.5, ramp=0.4, confidence=0.51)
    with torch.no_grad():
        for weight in method.networks.parameters():
            weight.mul_(1.1)  # the teachers are not their students any more
    toy = batch_of(method)
    mean = sum(teacher.network(toy["weak"]).softmax(1) for teacher in method.teachers) / 2
    pseudo = PseudoLabel.of(mean, 0.51).mixed(toy["mix"])
    lessons = method.lessons(toy)
    for lesson in lessons:
        assert torch.equal(lesson.pseudo.label, pseudo.label)
        torch.testing.assert_close(lesson.pseudo.certainty, pseudo.certainty)
    term = method(toy, 0.2)["cross"]
    assert term.weight == pytest.approx(0.5 * sigmoid_ramp(0.2, 0.4))
    expected = sum(pseudo.loss(lesson.logits[1]) for lesson in lessons) / 2
    torch.testing.assert_close(term.value, expected, rtol=1e-4, atol=1e-5)


def test_the_teachers_begin_as_their_networks_and_follow_each_its_own(batch_of) -> None:
    method = build(teacher=0.5)
    method.begin()
    before = [weight.clone() for weight in method.networks.parameters()]
    with torch.no_grad():
        for number, network in enumerate(method.networks, 1):
            for weight in network.parameters():
                weight.add_(float(number))
    method.after_step(100)
    for old, own in zip(before, method.teachers.parameters(), strict=True):
        moved = (own - old).flatten()
        assert torch.allclose(moved, moved[0].expand_as(moved), atol=1e-5)
    shares = [
        next(teacher.parameters()) - old
        for teacher, old in zip(method.teachers, (before[0], before[len(before) // 2]), strict=True)
    ]
    torch.testing.assert_close(shares[0], torch.full_like(shares[0], 0.5))
    torch.testing.assert_close(shares[1], torch.full_like(shares[1], 1.0))


def test_features_are_disturbed_on_the_unlabelled_rows_only(batch_of, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(
        cross_pseudo, "perturb", lambda features: seen.append(features) or [0 * each for each in features]
    )
    method = build()
    toy = batch_of(method)
    lessons = method.lessons(toy)
    assert [len(features[0]) for features in seen] == [2, 2]
    plain = method.networks[0](toy["image"])
    torch.testing.assert_close(lessons[0].logits[0], plain, rtol=1e-4, atol=1e-4)


def test_no_gradient_reaches_the_teachers_or_the_weak_view(batch_of) -> None:
    method = build()
    toy = batch_of(method)
    toy["weak"].requires_grad_()
    sum(term.value for term in method(toy, 1.0).values()).backward()
    assert toy["weak"].grad is None
    assert all(weight.grad is None for weight in method.teachers.parameters())
