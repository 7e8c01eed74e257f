"""Patients with several series in the cache and in the batches."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from lib.errors import StudyError
from lib.studies.cache import VolumeCache
from lib.studies.labels import LabelMap
from lib.studies.modalities import project_cases
from lib.studies.patches import Patches, Recipe
from lib.studies.phantom_patients import write_patients
from lib.studies.phantoms import LABELS
from lib.studies.plan import Plan
from lib.studies.preprocess import Preprocess
from lib.studies.rotation import Rotation
from lib.studies.series import read_case

PATCH = (16, 16, 8)
NAMES = ("ct", "pet", "mr")
WINDOW = (-100.0, 200.0, 50.0, 40.0)
PLAN = Plan(
    (3.0, 3.0, 5.0), "ct", PATCH, WINDOW, modalities=NAMES, schemes=("ct", "mr", "mr"), windows=(WINDOW, (), ())
)  # fmt: skip
MAP = LabelMap({value: name for name, value in LABELS.items()})


@pytest.fixture
def patients(tmp_path: Path) -> Path:
    """Four patients, two labelled; the second has no PET, the fourth only MR."""
    write_patients(tmp_path / "studies", 4, 2, NAMES, missing={1: ["pet"], 3: ["ct", "pet"]})
    return tmp_path / "studies"


def cache_in(folder: Path) -> VolumeCache:
    return VolumeCache(folder, Preprocess(PLAN), MAP, 1e9)


def patches(patients: Path, folder: Path) -> Patches:
    cases = project_cases(patients, NAMES)
    rotation = Rotation([case for case in cases if not case.label], 3, 200, 0)
    return Patches(cache_in(folder), [case for case in cases if case.label], rotation, Recipe(PATCH, 2, 2, 0.5, 2, 0))


def test_the_cache_keeps_all_series_and_which_there_are(patients: Path, tmp_path: Path) -> None:
    _, case, *_ = project_cases(patients, NAMES)
    for _ in range(2):  # made, then read again
        volume = cache_in(tmp_path / "cache").get(case)
        assert volume.present == (True, False, True)
        stack, geometry, _ = read_case(case, Preprocess(PLAN))
        np.testing.assert_array_equal(volume.image, stack.astype(np.float16))
        assert volume.label is not None
        assert volume.label.shape == geometry.size == volume.image.shape[1:]
    assert len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_change_of_any_series_makes_another_entry(patients: Path, tmp_path: Path, name: str) -> None:
    case, cache = project_cases(patients, NAMES)[0], cache_in(tmp_path / "cache")
    cache.get(case)
    os.utime(case.modalities[name], (1000, 1000))
    cache.get(case)
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_fault_reaches_who_asks_for_the_case(patients: Path, tmp_path: Path) -> None:
    image = nib.load(patients / "patient_000_ct.nii.gz")
    nib.save(image, patients / "patient_000_CT.nii.gz")
    with pytest.raises(StudyError, match="two files"):
        cache_in(tmp_path / "cache").get(project_cases(patients, NAMES)[0])


def test_a_batch_says_which_series_a_row_has(patients: Path, tmp_path: Path) -> None:
    stream, rows = patches(patients, tmp_path / "cache"), {}
    for step in range(4):
        batch = stream[step]
        assert batch["image"].shape == batch["weak"].shape == (2, 3, *PATCH)
        assert batch["strong"].shape == (2, 2, 3, *PATCH)
        for present in (batch["present"], batch["unlabelled_present"]):
            assert present.shape == (2, 3)
            assert present.dtype == torch.bool
        for row in range(2):
            there, unlabelled = batch["present"][row], batch["unlabelled_present"][row]
            rows[batch["ids"][row]] = there.tolist()
            rows[batch["unlabelled_ids"][row]] = unlabelled.tolist()
            assert batch["image"][row].flatten(1).any(1).tolist() == there.tolist()
            assert batch["weak"][row].flatten(1).any(1).tolist() == unlabelled.tolist()
            for view in batch["strong"]:
                assert view[row].flatten(1).any(1).tolist() == unlabelled.tolist()
    assert rows == {
        "patient_000": [True, True, True],
        "patient_001": [True, False, True],
        "patient_002": [True, True, True],
        "patient_003": [False, False, True],
    }


def test_each_modality_has_an_appearance_of_its_own(patients: Path, tmp_path: Path) -> None:
    """Affine changes of intensity are read back by a straight line; modalities must not share its slope."""
    stream, slopes = patches(patients, tmp_path / "cache"), []
    for step in range(12):
        batch = stream[step]
        for row in range(2):
            if batch["unlabelled_present"][row].all():
                pairs = zip(batch["weak"][row], batch["strong"][0][row], strict=True)
                slopes.append([np.polyfit(weak.flatten(), strong.flatten(), 1)[0] for weak, strong in pairs])
    spread = np.std(slopes, axis=1)
    assert (spread > 0.02).mean() > 0.5
    correlation = np.corrcoef(np.transpose(slopes))
    assert np.abs(correlation[np.triu_indices(3, 1)]).max() < 0.9
