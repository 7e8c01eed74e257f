"""A plan for patients with several series: an intensity scheme each, one grid for all."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from lib.config import Config
from lib.errors import NotReadyError
from lib.studies.labels import LabelMap
from lib.studies.modalities import project_cases
from lib.studies.phantom_patients import write_patients
from lib.studies.phantoms import LABELS
from lib.studies.plan import Plan, make_plan

MAP = LabelMap({value: name for name, value in LABELS.items()})
BOTH = ("mr", "ct")
LARGE: Any = {"shape": (48, 48, 28), "spacing": (1.5, 1.5, 2.5)}  # enough foreground for a window


def plan_of(folder: Path, *modalities: str, **settings: object) -> Plan:
    return make_plan(project_cases(folder, modalities), MAP, Config(modalities=modalities, **settings))  # type: ignore[arg-type]


def test_each_modality_has_its_scheme_and_its_window(tmp_path: Path) -> None:
    write_patients(tmp_path, 3, 3, ("ct", "mr"), one_grid=True, **LARGE)
    plan = plan_of(tmp_path, *BOTH)
    assert (plan.modality_names, plan.schemes) == (BOTH, ("mr", "ct"))
    assert plan.intensities(0) == ("mr", ())
    assert plan.intensities(1) == ("ct", plan.windows[1])
    values = []
    for patient in ("patient_000", "patient_001", "patient_002"):
        label = nib.load(tmp_path / "labels" / "final" / f"{patient}_ct.nii.gz").get_fdata()
        values.append(nib.load(tmp_path / f"{patient}_ct.nii.gz").get_fdata()[label > 0])
    low, high = np.percentile(np.concatenate(values), (0.5, 99.5))
    assert plan.windows[1][:2] == pytest.approx((low, high), abs=5)  # of every seventh voxel


def test_a_label_on_one_series_measures_the_foreground_of_the_other(tmp_path: Path) -> None:
    write_patients(tmp_path, 2, 2, ("mr", "ct"), **LARGE)  # labelled on MR, whose grid is another one
    assert all(case.image.name.endswith("_mr.nii.gz") for case in project_cases(tmp_path, BOTH))
    (tmp_path / "one").mkdir()
    write_patients(tmp_path / "one", 2, 2, ("ct", "mr"), one_grid=True, **LARGE)  # the same patients
    across, direct = plan_of(tmp_path, *BOTH), plan_of(tmp_path / "one", *BOTH)
    assert across.windows[1][2] == pytest.approx(direct.windows[1][2], abs=15)  # mean HU; air would be -1000
    assert across.windows[1] != (-160.0, 240.0, 40.0, 100.0)


def test_the_grid_is_that_of_the_series_which_are_labelled(tmp_path: Path) -> None:
    write_patients(tmp_path, 2, 2, ("pet", "ct"))
    assert plan_of(tmp_path, "ct", "pet").spacing == (4.5, 4.5, 6.25)  # of PET


def test_one_modality_makes_an_ordinary_plan(tmp_path: Path) -> None:
    write_patients(tmp_path, 2, 2, ("ct", "mr"))
    plan = plan_of(tmp_path, "ct")
    assert (plan.modality, plan.schemes, plan.modality_names) == ("ct", (), ("ct",))
    assert plan.intensities(0) == ("ct", plan.window)


def test_a_ct_without_air_is_known_by_its_name(tmp_path: Path) -> None:
    write_patients(tmp_path, 2, 2, ("ct", "mr"))
    for file in tmp_path.glob("*_ct.nii.gz"):
        image = nib.load(file)
        nib.save(nib.Nifti1Image(np.maximum(image.get_fdata(), -200).astype(np.float32), image.affine), file)
    assert plan_of(tmp_path, *BOTH).schemes == ("mr", "ct")
    assert plan_of(tmp_path, "ct").modality == "ct"
    assert plan_of(tmp_path, "scan=*_ct", "mr").schemes == ("mr", "mr")
    assert plan_of(tmp_path, *BOTH, modality="mr").schemes == ("mr", "mr")


def test_a_modality_that_no_patient_of_the_training_side_has_is_named(tmp_path: Path) -> None:
    write_patients(tmp_path, 2, 2, missing={0: ["mr"]})
    cases = project_cases(tmp_path, BOTH)[:1]
    with pytest.raises(NotReadyError, match="'mr'"):
        make_plan(cases, MAP, Config(modalities=BOTH))


def test_it_comes_back_from_plain_values_and_older_ones_still_load() -> None:
    plan = Plan((1.0, 1.0, 1.0), "ct", (8, 8, 8), (1.0, 2.0, 1.5, 0.5), modalities=("ct", "t1=T1-*"))
    plan = dataclasses.replace(plan, schemes=("ct", "mr"), windows=((1.0, 2.0, 1.5, 0.5), ()))
    assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan
    old = Plan.from_dict({"spacing": [1.0, 1.0, 1.0], "modality": "mr", "patch": [8, 8, 8], "window": []})
    assert (old.modality_names, old.intensities()) == ((), ("mr", ()))
    assert plan.key != dataclasses.replace(plan, schemes=("mr", "mr")).key
    assert plan.differences(Config()) == ["modalities"]
    assert plan.differences(Config(modalities=("ct", "t1=T1-*"))) == []
    assert "modality" in plan.differences(Config(modalities=("ct", "t1=T1-*"), modality="ct"))
