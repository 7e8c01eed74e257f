"""The commands on patients with several series."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lib.command_line import main
from lib.networks import factory
from lib.studies.phantom_patients import write_patients
from lib.training.model_folder import ModelFolder

TRAIN = (
    "--method semi_cml --modalities ct,mr --iterations 2 --patch 16,16,8 --validations 1 --validation 0 --size small"
)
COMMON = ("--workers", "0", "--device", "cpu", "--overlap", "0")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Seven patients, four labelled, the last without CT, and a model of theirs."""
    folder = tmp_path_factory.mktemp("patients")
    write_patients(folder / "studies", 7, 4, missing={6: ["ct"]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(factory.WIDTHS, "small", (4, 8, 8))
        assert run(folder, "train", *TRAIN.split()) == 0
        yield folder


def run(place: Path, *arguments: str) -> int:
    return main([*arguments, "--studies", str(place / "studies"), "--model", str(place / "model"), *COMMON])


def test_every_series_of_an_unlabelled_patient_is_segmented(place: Path, tmp_path: Path) -> None:
    assert run(place, "infer", "--modalities", "ct,mr", "--output", str(tmp_path)) == 0
    names = ["patient_004_ct", "patient_004_mr", "patient_005_ct", "patient_005_mr", "patient_006_mr"]
    assert sorted(file.name for file in tmp_path.iterdir()) == [f"{name}.nii.gz" for name in names]
    for name in names:
        label, image = nib.load(tmp_path / f"{name}.nii.gz"), nib.load(place / "studies" / f"{name}.nii.gz")
        assert label.shape == image.shape
        np.testing.assert_allclose(label.affine, image.affine, atol=1e-4)


def test_next_names_one_series_a_patient(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(place, "next", "--modalities", "ct,mr", "--count", "9", "--json") == 0
    chosen = [each["id"] for each in json.loads(capsys.readouterr().out)]
    assert sorted(chosen) == ["patient_004_ct", "patient_005_ct", "patient_006_mr"]  # none is measured to be stronger


def test_evaluate_compares_every_series_with_the_patients_label(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = ModelFolder(place / "model")
    assert set(folder.split.sides) == {f"patient_{n:03d}" for n in range(4)}
    assert folder.live is not None
    arguments = ["evaluate", "--modalities", "ct,mr", "--json", "-", "--studies", str(place / "studies")]
    assert main([*arguments, "--model", str(folder.live), *COMMON]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [each["id"] for each in report["cases"]] == [
        f"patient_{n:03d}_{name}" for n in range(4) for name in ("ct", "mr")
    ]
    assert report["skipped"] == {}


def test_evaluate_marks_the_series_of_patients_that_were_learnt_from(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ModelFolder, "of", lambda *_: ModelFolder(place / "model"))
    studies = str(place / "studies")
    assert main(["evaluate", "--modalities", "ct,mr", "--json", "-", "--studies", studies, *COMMON]) == 0
    assert len(json.loads(capsys.readouterr().out)["trained_on"]) == 8


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("train --method semi_cml --modalities ct,pet", "No file matches *_pet"),
        ("next --modalities ct,ct", "of another one"),
        ("infer --output {} --image {studies}/dataset.json", "does not say its modality"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    line: str, says: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(place, *line.format(tmp_path, studies=place / "studies").split()) == 2
    assert says in capsys.readouterr().err
