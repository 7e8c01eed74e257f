"""One patient: the series of one study in one frame of reference; the file's name tells the modality."""

from __future__ import annotations

from lib.config import Config
from lib.dicom.listed import Series
from lib.dicom.patients import modalities_of, stems
from lib.studies.modalities import modality_of


def series(uid: str, modality: str, study: str = "7", frame: str = "1", count: int = 9, text: str = "") -> Series:
    return Series(uid, study, modality, count, frame, {"SeriesDescription": text})


def named(*there: Series, modalities: tuple[str, ...] = ("ct", "pet", "mr"), labelled: tuple[str, ...] = ()) -> dict:
    """SeriesInstanceUID -> modality and patient by the name of the file, as the rest of the program sees it."""
    names = stems({each.uid: each for each in there}, labelled, modalities)
    return {uid: modality_of(f"{stem}.nii", modalities) for uid, stem in names.items()}


def test_without_the_setting_every_series_is_its_own_study() -> None:
    assert stems({"1.1": series("1.1", "CT"), "1.2": series("1.2", "MR")}, (), ()) == {"1.1": "1.1", "1.2": "1.2"}


def test_series_of_one_study_and_frame_are_one_patient() -> None:
    found = named(series("1.1", "CT"), series("1.2", "PT"), series("1.3", "MR"), series("1.4", "CT", study="8"))
    assert [found[uid][0] for uid in ("1.1", "1.2", "1.3", "1.4")] == ["ct", "pet", "mr", "ct"]
    assert len({found[uid][1] for uid in ("1.1", "1.2", "1.3")}) == 1
    assert found["1.4"][1] != found["1.1"][1]


def test_another_frame_of_reference_is_another_patient() -> None:
    found = named(series("1.1", "CT"), series("1.2", "MR", frame="2"))
    assert found["1.1"][1] != found["1.2"][1]


def test_of_two_series_of_one_modality_the_labelled_or_larger_one_counts() -> None:
    small, large = series("1.1", "CT", count=20), series("1.2", "CT", count=300)
    assert named(small, large)["1.1"] is None
    assert named(small, large)["1.2"][0] == "ct"
    assert named(small, large, labelled=("1.1",))["1.1"][0] == "ct"
    assert named(small, large, labelled=("1.1",))["1.2"] is None


def test_a_name_that_is_no_modality_is_looked_for_in_the_description() -> None:
    there = (
        series("1.1", "MR", text="Ax T1 post"),
        series("1.2", "MR", text="T2_FLAIR"),
        series("1.3", "MR", text="ADC"),
    )
    found = named(*there, modalities=("t1", "t2=*-T2"))
    assert (found["1.1"][0], found["1.2"][0], found["1.3"]) == ("t1", "t2", None)


def test_the_settings_say_which_modalities_are_studies() -> None:
    assert modalities_of(Config()) == ("CT", "MR", "PT")
    assert modalities_of(Config(modality="mr")) == ("MR",)
    assert modalities_of(Config(modality="ct")) == ("CT",)
    assert modalities_of(Config(modalities=("ct", "pet"))) == ("CT", "PT")
    assert modalities_of(Config(modalities=("t1", "t2"))) == ("CT", "MR", "PT")
