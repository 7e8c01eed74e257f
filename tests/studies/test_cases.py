"""Which files of a folder are studies, and what MONAI Label's index says about their labels."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lib.studies.cases import UNLABELLED, find_cases, study_id, values_of


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def index(folder: Path, **infos: object) -> None:
    """MONAI Label's index of a folder with these infos of final labels."""
    objects = {study: {"image": {}, "labels": {"final": {"ext": ".nii.gz", "info": info}}} for study, info in infos.items()}
    (folder / "datastore_v2.json").write_text(json.dumps({"name": "x", "objects": objects}))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.nii.gz", "a"), ("a.nii", "a"), ("a.nrrd", "a"), ("a.b-c_1.nii.gz", "a.b-c_1"), ("/deep/er/a.nii.gz", "a")],
)
def test_the_id_is_the_name_without_its_extension(name: str, expected: str) -> None:
    assert study_id(name) == study_id(Path(name)) == expected


def test_images_lie_in_the_folder_and_labels_in_labels_final(tmp_path: Path) -> None:
    touch(tmp_path, "b.nii.gz", "a.nrrd", "c.nii", "notes.txt", ".hidden.nii.gz", "deeper/d.nii.gz", "dataset.json")
    touch(tmp_path, "labels/final/b.nii.gz", "labels/final/gone.nii.gz", "labels/original/a.nii.gz")
    cases = find_cases(tmp_path)
    assert [case.id for case in cases] == ["a", "b", "c"]
    assert [case.image.name for case in cases] == ["a.nrrd", "b.nii.gz", "c.nii"]
    labels = [case.label and case.label.relative_to(tmp_path).as_posix() for case in cases]
    assert labels == [None, "labels/final/b.nii.gz", None]
    assert {case.side for case in cases} == {UNLABELLED}


def test_label_and_image_may_have_different_formats(tmp_path: Path) -> None:
    touch(tmp_path, "a.nrrd", "labels/final/a.nii.gz")
    (case,) = find_cases(tmp_path)
    assert case.label == tmp_path / "labels/final/a.nii.gz"


def test_a_folder_named_like_an_image_is_listed_so_that_it_is_reported(tmp_path: Path) -> None:
    (tmp_path / "x.nii.gz").mkdir()
    assert [case.id for case in find_cases(tmp_path)] == ["x"]


def test_an_empty_folder_has_no_cases_and_a_missing_one_is_said(tmp_path: Path) -> None:
    assert find_cases(tmp_path) == []
    with pytest.raises(FileNotFoundError, match="nowhere"):
        find_cases(tmp_path / "nowhere")


def test_the_meaning_of_values_comes_from_the_submitters_label_info(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{study}.nii.gz" for study in "abc"), *(f"labels/final/{study}.nii.gz" for study in "ab"))
    info = {"label_info": [{"name": "liver", "idx": 3, "color": [1, 2, 3]}, {"name": "tumour", "idx": 1}]}
    index(tmp_path, a=info, b={}, c=info)
    values = {case.id: case.values for case in find_cases(tmp_path)}
    assert values == {"a": {3: "liver", 1: "tumour"}, "b": None, "c": None}  # c has no label of which to say it


@pytest.mark.parametrize("content", ["{ broken", "[]", "{}", '{"objects": {"a": {"labels": {"final": {"info": 3}}}}}'])
def test_an_index_that_cannot_be_understood_hides_no_study(tmp_path: Path, content: str) -> None:
    touch(tmp_path, "a.nii.gz", "labels/final/a.nii.gz")
    (tmp_path / "datastore_v2.json").write_text(content)
    (case,) = find_cases(tmp_path)
    assert case.label is not None
    assert case.values is None


def test_one_bad_label_info_does_not_hide_the_others(tmp_path: Path) -> None:
    touch(tmp_path, "a.nii.gz", "b.nii.gz", "labels/final/a.nii.gz", "labels/final/b.nii.gz")
    index(tmp_path, a={"label_info": [{"name": "liver", "idx": "third"}]}, b={"label_info": [{"name": "liver", "idx": 3}]})
    assert {case.id: case.values for case in find_cases(tmp_path)} == {"a": None, "b": {3: "liver"}}


@pytest.mark.parametrize("info", [None, "text", {}, [], [3], [{"name": "x"}]])
def test_a_label_info_that_says_nothing_is_none(info: object) -> None:
    assert values_of(info) is None
