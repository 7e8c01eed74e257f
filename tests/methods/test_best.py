"""Our composition: what is taught, and where the features are disturbed."""

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


def test_each_network_learns_what_the_other_says_of_the_undisturbed_weak_view(batch_of, monkeypatch) -> None:
    method = build(consistency=0.5, ramp=0.4, confidence=0.51)
    toy = batch_of(method)
    said = [network(toy["weak"]).softmax(1) for network in method.networks]
    lessons = method.lessons(toy)
    for lesson, other in zip(lessons, said[::-1], strict=True):
        pseudo = PseudoLabel.of(other, 0.51).mixed(toy["mix"])
        assert torch.equal(lesson.pseudo.label, pseudo.label)
        torch.testing.assert_close(lesson.pseudo.certainty, pseudo.certainty)
    monkeypatch.setattr(method, "lessons", lambda batch: lessons)  # what is disturbed is drawn anew at each call
    term = method(toy, 0.2)["cross"]
    assert term.weight == pytest.approx(0.5 * sigmoid_ramp(0.2, 0.4))
    expected = sum(lesson.pseudo.loss(lesson.logits[1]) for lesson in lessons) / 2
    torch.testing.assert_close(term.value, expected, rtol=1e-4, atol=1e-5)


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
