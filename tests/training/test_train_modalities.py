"""A training on patients with several series, from files to a model that takes one of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from lib.inference.model_file import Model
from lib.inference.segmenter import Segmenter
from lib.studies.labels import label_map
from lib.studies.modalities import project_cases
from lib.studies.phantom_patients import write_patients
from lib.training.model_folder import ModelFolder
from lib.training.prepare import prepare
from lib.training.start import initial_method
from lib.training.train import train
from lib.training.validation import mean_dice, modality_means, validate

NAMES = ("ct", "mr")
MISSING = {1: ["mr"], 9: ["ct"], 10: ["mr"]}
LABELLED = [f"patient_{number:03d}" for number in range(8)]


@pytest.fixture
def patients(tmp_path: Path) -> Path:
    """Eleven patients, eight labelled, on grids of their own; one labelled and two unlabelled ones lack a series."""
    write_patients(tmp_path / "patients", 11, 8, NAMES, MISSING)
    return tmp_path / "patients"


def test_patients_are_learnt_from_and_each_series_is_segmented(project: Any, patients: Path) -> None:
    config = project.config(method="semi_cml", modalities=NAMES, iterations=4, validations=1)
    cases, folder = project_cases(patients, NAMES), ModelFolder(patients.parent / "model")
    result = train(cases, label_map(config, patients), config, folder)
    manifest = json.loads(result.manifest.read_text())
    sides = manifest["cases"]
    assert sorted(sides["unlabelled"]) == ["patient_008", "patient_009", "patient_010"]
    assert sorted(sides["training"] + sides["validation"]) == LABELLED
    assert set(folder.split.sides) == set(LABELLED)  # patients, not files
    assert manifest["skipped"] == {}
    assert folder.live is not None
    segmenter = Segmenter.load(folder.live, "cpu")
    for name in NAMES:
        image = patients / f"patient_008_{name}.nii.gz"
        assert segmenter.predict(image).shape[:2] == (1, 3)
    metrics = Model.load(folder.live).metrics
    assert segmenter.strength == metrics["modalities"]
    assert set(metrics["modalities"]) <= set(NAMES)


def test_validation_segments_each_series_alone(project: Any, patients: Path) -> None:
    config = project.config(method="semi_cml", modalities=NAMES)
    labels = label_map(config, patients)
    ready = prepare(project_cases(patients, NAMES), labels, config, project.folder, None, "cpu", lambda: None)
    method = initial_method(config, 3, ready.cache.preprocess.plan, None)
    cases = sorted(ready.training + ready.validation, key=lambda case: case.id)
    found = validate(method, cases, ready.cache, config)
    assert set(found["patient_000"]) == {"ct/organ", "ct/lesion", "mr/organ", "mr/lesion"}
    assert set(found["patient_001"]) == {"ct/organ", "ct/lesion"}  # he has no MR
    with torch.no_grad():  # the network of MR says organ everywhere
        for parameter in method.networks[1].parameters():
            parameter.zero_()
        bias = [parameter for parameter in method.networks[1].parameters() if parameter.shape == (3,)][-1]
        bias[1] = 9.0
    again = validate(method, cases, ready.cache, config)
    for study, classes in again.items():
        for key, value in classes.items():
            if key.startswith("ct/"):
                assert value == found[study][key]
    label = np.asarray(nib.load(cases[0].label).dataobj)
    everywhere = 2 * (label == 1).sum() / (label.size + (label == 1).sum())
    assert again["patient_000"]["mr/organ"] == pytest.approx(everywhere)
    assert again["patient_000"]["mr/lesion"] == 0


def test_means_of_the_modalities_tell_which_is_the_stronger() -> None:
    found = {"a": {"ct/x": 0.2, "ct/y": 0.4, "mr/x": 0.8, "mr/y": 1.0}, "b": {"ct/x": 0.5, "ct/y": 0.5}}
    means = modality_means(found, ("ct", "mr=T1-*", "pet"))
    assert means == pytest.approx({"ct": 0.4, "mr": 0.9})  # nobody had PET
    assert mean_dice(found) == pytest.approx((0.6 + 0.5) / 2)
    assert modality_means({"a": {"x": 0.1}}, ()) == modality_means({"a": {"x": 0.1}}, ("ct",)) == {}
