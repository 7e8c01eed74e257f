"""Which studies a training works on, and how many unlabelled ones it keeps at hand."""

from __future__ import annotations

import dataclasses
import functools
import logging
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from lib.studies.plan import Plan
from lib.training.prepare import prepare


def ids(cases: list) -> list[str]:
    return [case.id for case in cases]


def test_each_study_is_on_its_side_and_the_labelled_ones_are_ready(project: Any) -> None:
    studies = project.prepared()
    assert ids(studies.training) == ["phantom_000", "phantom_001"]
    assert ids(studies.validation) == ["phantom_002", "phantom_003"]
    assert ids(studies.unlabelled) == ["phantom_004", "phantom_005", "phantom_006"]
    entries = [entry for entry in studies.cache.folder.iterdir() if entry.is_dir()]
    assert len(entries) == 4  # unlabelled ones wait for their turn
    assert studies.skipped == {}
    assert all(set(counts) == {"organ", "lesion"} for counts in studies.voxels.values())


def test_the_plan_of_the_model_that_is_trained_on_is_kept(project: Any) -> None:
    plan = Plan((4.0, 4.0, 4.0), "mr", (8, 8, 8))
    studies = prepare(project.cases, project.labels, project.config(), project.folder, plan, "cpu", lambda: None)
    assert studies.cache.preprocess.plan == plan


def test_the_plan_does_not_look_at_validation_studies(project: Any) -> None:
    project.image(2).write_bytes(b"no image")
    before = project.prepared().cache.preprocess.plan
    for number in (2, 3):
        project.image(number).unlink()
        project.label(number).unlink()
    assert project.prepared().cache.preprocess.plan == before


def test_supervised_training_has_no_eye_for_unlabelled_studies(project: Any) -> None:
    project.image(6).unlink()
    project.image(6).mkdir()
    assert project.prepared(method="supervised").skipped == {}
    assert set(project.prepared().skipped) == {"phantom_006"}
    patches = project.prepared(method="supervised").patches(project.config(), 0, 6, 0, 1)
    assert patches.unlabelled is None


def test_every_skipped_study_is_logged_with_its_sentence(project: Any, caplog: pytest.LogCaptureFixture) -> None:
    project.label(1).write_bytes(b"no label")
    with caplog.at_level(logging.WARNING):
        studies = project.prepared()
    assert studies.skipped["phantom_001"] in caplog.text
    assert "'phantom_001'" in studies.skipped["phantom_001"]
    assert "phantom_001" not in ids(studies.training)


def test_as_many_unlabelled_studies_are_at_hand_as_fit_beside_the_labelled(project: Any) -> None:
    studies = project.prepared()
    volume = studies.cache.get(studies.training[0])
    labelled = 1.5 * volume.image.nbytes  # float16 image and uint8 label
    windows = []
    for unlabelled in (0.5, 2.5, 100):
        studies.cache.budget = 4 * labelled + unlabelled * 1.2 * labelled
        patches = studies.patches(project.config(), 2, 6, 0, 1)
        assert patches.unlabelled is not None
        windows.append(patches.unlabelled.capacity)
    assert windows == [1, 2, 3]


def test_the_recipe_is_that_of_the_settings(project: Any) -> None:
    config = project.config(batch_labelled=3, batch_unlabelled=4, foreground=0.25, seed=9)
    recipe = project.prepared().patches(config, 2, 6, 1, 2).recipe
    assert dataclasses.astuple(recipe) == ((16, 16, 8), 3, 4, 0.25, 2, 9, None, False)


def test_voxels_of_a_class_that_does_not_occur_are_counted_as_none(project: Any) -> None:
    affine = nib.load(project.label(0)).affine
    nib.save(nib.Nifti1Image(np.zeros((24, 24, 12), np.uint8), affine), project.label(0))
    assert project.prepared().voxels["phantom_000"] == {"organ": 0, "lesion": 0}


def test_unlabelled_studies_of_a_server_are_not_fetched_before_their_turn(project: Any) -> None:
    fetched: list[str] = []
    cases = [
        dataclasses.replace(case, fetch=functools.partial(fetched.append, case.id), version=case.id)
        for case in project.cases
    ]
    plan = Plan((4.0, 4.0, 4.0), "mr", (8, 8, 8))
    prepare(cases, project.labels, project.config(), project.folder, plan, "cpu", lambda: None)
    assert set(fetched) == {case.id for case in cases if case.label}
