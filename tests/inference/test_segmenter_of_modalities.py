"""A model of several modalities segments any one of them; the file's name says which."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lib.config import Config
from lib.errors import ConfigError, StudyError
from lib.inference.evaluation import evaluate
from lib.inference.segmenter import Segmenter
from lib.methods.base import Method, Term
from lib.studies.labels import LabelMap
from lib.studies.modalities import project_cases
from lib.studies.phantom_patients import write_patients
from lib.studies.plan import Plan
from lib.studies.preprocess import Preprocess

NAMES = ("ct", "mr")
WINDOW = (-100.0, 200.0, 50.0, 40.0)
PLAN = Plan(
    (3.0, 3.0, 5.0), "ct", (16, 16, 8), WINDOW, modalities=NAMES, schemes=("ct", "mr"), windows=(WINDOW, ())
)  # fmt: skip
LABELS = LabelMap({1: "organ", 2: "lesion"})


class Asked(Method):
    """Says class 1 everywhere for the first modality and class 2 for the second; remembers what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.networks, self.seen = nn.ModuleList(), []

    def losses(self, batch: dict, progress: float) -> dict[str, Term]:
        raise NotImplementedError

    def predict(self, x: Tensor, modality: int = 0) -> Tensor:
        self.seen.append(x)
        found = torch.zeros(1, len(x), 3, *x.shape[2:])
        found[:, :, 1 + modality] = 1
        return found


@pytest.fixture
def patients(tmp_path: Path) -> Path:
    write_patients(tmp_path / "studies", 2, 1, NAMES)
    return tmp_path / "studies"


def segmenter(plan: Plan = PLAN) -> Segmenter:
    return Segmenter(Asked(), plan, LABELS, Config(device="cpu", precision="fp32", overlap=0.0))


@pytest.mark.parametrize(("place", "name"), enumerate(NAMES))
def test_the_name_of_the_file_chooses_network_and_scheme(patients: Path, place: int, name: str) -> None:
    ready, image = segmenter(), patients / f"patient_001_{name}.nii.gz"
    expected = Preprocess(PLAN).image(image, place)[0]
    for ask in (lambda: ready(image).label, lambda: ready.predict(image)[0].argmax(0)):
        assert (ask() == 1 + place).all()
        values = torch.cat([windows.flatten() for windows in ready.method.seen])
        assert {windows.shape[1] for windows in ready.method.seen} == {1}
        assert (values.min(), values.max()) == (expected.min(), expected.max())
        ready.method.seen.clear()
    assert ready(image).label.shape == nib.load(image).shape


def test_a_name_that_does_not_tell_needs_the_modality(patients: Path, tmp_path: Path) -> None:
    upload = tmp_path / "upload.nii.gz"
    upload.write_bytes((patients / "patient_001_mr.nii.gz").read_bytes())
    with pytest.raises(StudyError, match=r"Study 'upload'.*\*_ct, \*_mr"):
        segmenter()(upload)
    assert (segmenter()(upload, modality="mr").label == 2).all()
    with pytest.raises(ConfigError, match="no modality 'pet'; it has: ct, mr"):
        segmenter()(upload, modality="pet")


def test_a_model_of_one_modality_takes_any_file(patients: Path) -> None:
    ready = segmenter(Plan((3.0, 3.0, 5.0), "mr", (16, 16, 8), modalities=("ct",)))
    assert (ready(patients / "patient_001_mr.nii.gz").label == 1).all()


def test_every_series_of_a_patient_is_evaluated_against_his_one_label(patients: Path) -> None:
    cases = project_cases(patients, NAMES)[:1]
    done, skipped = evaluate(segmenter(), cases, LABELS, every_series=True)
    assert not skipped
    ct, mr = done
    assert (ct.id, mr.id) == ("patient_000_ct", "patient_000_mr")
    label = np.asarray(nib.load(cases[0].label).dataobj)
    organ = 2 * (label == 1).sum() / (label.size + (label == 1).sum())  # of "organ everywhere"
    assert ct.dice["organ"] == pytest.approx(organ)
    lesion = 2 * (label == 2).sum() / (label.size + (label == 2).sum())
    assert mr.dice["lesion"] == pytest.approx(lesion, rel=0.2)
    assert mr.dice["organ"] == 0
    alone, _ = evaluate(segmenter(), cases, LABELS)
    assert [each.id for each in alone] == ["patient_000"]
    assert alone[0].dice == ct.dice
