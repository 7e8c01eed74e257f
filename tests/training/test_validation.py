"""Validation Dice is that of the label a user would get, on the image's own grid."""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np
import pytest

from lib.inference.segmenter import Segmenter
from lib.training.validation import mean_dice, validate


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    return 2 * (found & truth).sum() / (found.sum() + truth.sum())


def test_it_is_the_dice_of_what_is_served(project: Any) -> None:
    loop = project.loop(spacing=(4.0, 4.0, 4.0), iterations=60, method="supervised", learning_rate=1e-2)
    engine = loop.engine()
    for number in range(1, 61):
        engine.state.iteration = number
        loop.step(engine)
    cache, cases = loop.patches.cache, [case.on("validation") for case in project.cases[2:4]]
    found = validate(loop.smoothed, cases, cache, loop.config)
    segmenter = Segmenter(loop.smoothed, cache.preprocess.plan, project.labels, loop.config)
    for case in cases:
        served, truth = segmenter(case.image).label, np.asarray(nib.load(case.label).dataobj)
        assert found[case.id]["organ"] == pytest.approx(dice(served == 1, truth == 1), abs=0.02)
    assert max(classes["organ"] for classes in found.values()) > 0.03


def test_it_leaves_the_method_in_its_mode(project: Any) -> None:
    loop = project.loop()
    for mode in (True, False):
        loop.method.train(mode)
        validate(loop.method, [project.cases[2].on("validation")], loop.patches.cache, loop.config)
        assert loop.method.training == mode


def test_the_mean_is_over_classes_then_over_studies() -> None:
    assert mean_dice({"a": {"organ": 1.0, "lesion": 0.0}, "b": {"organ": 0.2}}) == pytest.approx(0.35)
