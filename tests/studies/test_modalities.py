"""Which modality a file shows, and the series of one patient as one case."""

from __future__ import annotations

import functools
import logging
import os
import shutil
from pathlib import Path

import pytest

from lib.errors import ConfigError, NotFoundError, StudyError
from lib.studies.cases import Case
from lib.studies.modalities import (
    group,
    modality_of,
    one_series_each,
    patterns,
    place_of,
    project_cases,
    single_series,
)
from lib.studies.phantom_patients import write_patients

BOTH = ("ct", "mr")


@pytest.fixture
def patients(tmp_path: Path) -> Path:
    """Three patients, the first labelled on his CT, the second without MR."""
    folder = tmp_path / "studies"
    write_patients(folder, 3, 1, missing={1: ["mr"]})
    return folder


def final(folder: Path, name: str) -> Path:
    return folder / "labels" / "final" / f"{name}.nii.gz"


def test_a_name_stands_for_an_ending_and_a_pattern_for_itself() -> None:
    assert patterns(("ct", "t1.w", "mr=T1-*", "us=*_us.nii.gz")) == {
        "ct": "*_ct",
        "t1.w": "*_t1.w",
        "mr": "T1-*",
        "us": "*_us",
    }


@pytest.mark.parametrize("wrong", ["mr=T1", "mr=*-*", "=*_ct", "a/b", "mr=x/*", "c t"])
def test_what_is_no_modality_is_refused(wrong: str) -> None:
    with pytest.raises(ConfigError, match=r"Modality '.*' is neither"):
        patterns((wrong,))


@pytest.mark.parametrize("twice", [("ct", "ct=*-CT"), ("ct", "a=*_CT")])
def test_a_name_or_pattern_given_twice_is_refused(twice: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="of another one"):
        patterns(twice)


def test_the_file_name_tells_modality_and_patient() -> None:
    names = ("mr", "t1=*_t1_mr", "ct=CT-*")
    assert modality_of(Path("/data/P_1_mr.nii.gz"), names) == ("mr", "P_1")
    assert modality_of("P_1_T1_MR.nrrd", names) == ("t1", "P_1")  # the longer pattern, whatever the case
    assert modality_of("CT-7.nii", names) == ("ct", "7")
    assert modality_of("_mr.nii", names) is None  # no id
    assert modality_of("P_1_us.nii", names) is None
    assert [place_of(name, names) for name in ("a_mr.nii", "a_t1_mr.nii", "CT-a.nii")] == [0, 1, 2]
    with pytest.raises(StudyError, match=r"Study 'P_1_us'.*\*_mr, \*_t1_mr, CT-\*"):
        place_of("P_1_us.nii", names)


def test_without_modalities_every_file_is_a_study(patients: Path) -> None:
    cases = project_cases(patients)
    assert [case.id for case in cases] == [f"patient_{n}" for n in ("000_ct", "000_mr", "001_ct", "002_ct", "002_mr")]
    assert all(case.modalities == {} for case in cases)


def test_with_modalities_a_patient_is_a_study(patients: Path) -> None:
    first, second, third = project_cases(patients, ("mr", "ct"))
    assert [first.id, second.id, third.id] == ["patient_000", "patient_001", "patient_002"]
    assert list(first.modalities) == ["mr", "ct"]  # in the order of the setting
    assert first.modalities["mr"] == patients / "patient_000_mr.nii.gz"
    assert first.image == patients / "patient_000_ct.nii.gz"  # the one that is labelled
    assert first.label == final(patients, "patient_000_ct")
    assert list(second.modalities) == ["ct"]
    assert second.image == patients / "patient_001_ct.nii.gz"
    assert third.label is None
    assert third.image == patients / "patient_002_mr.nii.gz"
    assert first.files == [patients / "patient_000_ct.nii.gz", patients / "patient_000_mr.nii.gz"]


def test_with_one_modality_only_its_files_are_studies(patients: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        cases = project_cases(patients, ("mr",))
    assert [(case.id, case.image.name, case.label) for case in cases] == [
        ("patient_000", "patient_000_mr.nii.gz", None),
        ("patient_002", "patient_002_mr.nii.gz", None),
    ]
    assert "3 files show none of the modalities and are left out, patient_000_ct.nii.gz among them" in caplog.text


@pytest.mark.parametrize("series", ["ct", "mr"])
def test_a_label_under_the_patients_id_has_the_grid_of_one_series(patients: Path, series: str) -> None:
    final(patients, "patient_000_ct").unlink()
    image = patients / f"patient_000_{series}.nii.gz"
    shutil.copy(image, final(patients, "patient_000"))
    case = project_cases(patients, BOTH)[0]
    assert (case.image, case.label) == (image, final(patients, "patient_000"))


def test_of_several_labels_the_newest_counts(patients: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copy(patients / "patient_000_mr.nii.gz", final(patients, "patient_000_mr"))
    os.utime(final(patients, "patient_000_ct"), (1000, 1000))
    os.utime(final(patients, "patient_000_mr"), (2000, 2000))
    assert project_cases(patients, BOTH)[0].label == final(patients, "patient_000_mr")
    assert "Patient 'patient_000' has 2 labels" in caplog.text
    os.utime(final(patients, "patient_000_ct"), (3000, 3000))
    assert project_cases(patients, BOTH)[0].image == patients / "patient_000_ct.nii.gz"


def test_two_files_for_one_modality_are_a_fault_of_the_patient(patients: Path) -> None:
    shutil.copy(patients / "patient_000_ct.nii.gz", patients / "patient_000_CT.nii.gz")
    faulty, *others = project_cases(patients, BOTH)
    with pytest.raises(StudyError, match=r"'patient_000'.*'ct', patient_000_CT.nii.gz and patient_000_ct.nii.gz"):
        faulty.usable()
    assert [case.usable() for case in others] == others


def test_a_pattern_that_matches_nothing_is_refused(patients: Path, tmp_path: Path) -> None:
    sentence = r"\*_pet, the pattern of the modality 'pet'; .*patient_000_ct.nii.gz and patient_000_mr.nii.gz"
    with pytest.raises(ConfigError, match=sentence):
        project_cases(patients, ("ct", "pet"))
    (tmp_path / "empty").mkdir()
    assert project_cases(tmp_path / "empty", ("ct", "pet")) == []  # nothing has arrived yet
    with pytest.raises(NotFoundError):
        project_cases(tmp_path / "nowhere", ("ct",))


def test_series_are_offered_one_by_one_or_one_a_patient(patients: Path) -> None:
    waiting = project_cases(patients, BOTH)[1:]
    assert [case.id for case in single_series(waiting)] == ["patient_001_ct", "patient_002_ct", "patient_002_mr"]
    assert [case.id for case in one_series_each(waiting, {})] == ["patient_001_ct", "patient_002_ct"]
    strongest = one_series_each(waiting, {"ct": 0.5, "mr": 0.6})
    assert [case.id for case in strongest] == ["patient_001_ct", "patient_002_mr"]
    ordinary = [Case("a", Path("a.nii"))]
    assert single_series(ordinary) == one_series_each(ordinary, {"ct": 1.0}) == ordinary


def test_series_from_a_server_keep_their_ids_and_are_fetched_together() -> None:
    fetched: list[str] = []
    series = [
        Case(uid, Path(f"patient_{name}.nii"), fetch=functools.partial(fetched.append, uid), version=uid, here=here)
        for uid, name, here in (("1.1", "ct", True), ("1.2", "mr", False))
    ]
    (patient,) = group(series, {}, BOTH)
    assert (patient.id, patient.version, patient.here) == ("patient", "1.1 1.2", False)
    assert [case.id for case in single_series([patient])] == ["1.1", "1.2"]
    (offered,) = one_series_each([patient], {"mr": 1.0})
    offered.usable()
    assert (offered.id, fetched) == ("1.2", ["1.2"])
    patient.usable()
    assert fetched == ["1.2", "1.1", "1.2"]


def test_of_labels_on_a_server_the_one_made_last_counts() -> None:
    early, late = (
        Case(uid, Path(f"patient_{name}.nii"), Path(f"{uid}.nii.gz"), labelled_at=when)
        for uid, name, when in (("1.1", "ct", 20240102.0), ("1.2", "mr", 20240103.0))
    )
    for order in ([early, late], [late, early]):
        assert group(order, {}, BOTH)[0].label == late.label
