"""Which files of a folder are studies, what MONAI Label's index says of their labels, and reading them, good or bad."""

from __future__ import annotations

import dataclasses
import gzip
import json
import threading
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from lib.errors import NotFoundError, StudyError
from lib.studies.cases import TRAINING, UNLABELLED, Case, fetching, find_cases, is_picture, study_id, values_of
from lib.studies.reading import read_volume


def noise(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).uniform(1, 100, shape).astype(np.float32)


def write(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def index(folder: Path, **infos: object) -> None:
    """MONAI Label's index of a folder with these infos of final labels."""
    objects = {study: {"labels": {"final": {"ext": ".nii.gz", "info": info}}} for study, info in infos.items()}
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
    with pytest.raises(NotFoundError, match="nowhere"):
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
    bad, good = ({"label_info": [{"name": "liver", "idx": value}]} for value in ("third", 3))
    index(tmp_path, a=bad, b=good)
    assert {case.id: case.values for case in find_cases(tmp_path)} == {"a": None, "b": {3: "liver"}}


@pytest.mark.parametrize("info", [None, "text", {}, [], [3], [{"name": "x"}]])
def test_a_label_info_that_says_nothing_is_none(info: object) -> None:
    assert values_of(info) is None


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "u4", "i8", "f8", ">i2", ">f4"])
def test_files_of_every_value_type_are_read(tmp_path: Path, dtype: str) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    nib.save(nib.Nifti1Image(array, np.eye(4), dtype=array.dtype), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii.gz")[0], array)


def test_nrrd_and_nifti_of_one_image_are_one_volume(tmp_path: Path) -> None:
    write(tmp_path / "a.nii.gz", noise((5, 6, 7)), np.diag([-2.0, 1.5, 3.0, 1.0]))
    sitk.WriteImage(sitk.ReadImage(tmp_path / "a.nii.gz"), tmp_path / "a.nrrd")
    (one, grid), (other, same) = read_volume(tmp_path / "a.nii.gz"), read_volume(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(grid, same, atol=1e-5)


def test_files_that_are_no_volume_are_a_sentence_with_the_study(tmp_path: Path) -> None:
    (tmp_path / "folder.nii.gz").mkdir()
    (tmp_path / "void.nii.gz").touch()
    (tmp_path / "text.nii").write_text("no image\n" * 100)
    (tmp_path / "text.nrrd").write_text("no image\n" * 100)
    write(tmp_path / "flat.nii.gz", noise((8, 9)))
    write(tmp_path / "many.nii.gz", noise((4, 4, 4, 3)))
    sitk.WriteImage(sitk.GetImageFromArray(noise((8, 9))), tmp_path / "plane.nrrd")
    coloured = np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(coloured, np.eye(4)), tmp_path / "coloured.nii.gz")
    names = [path.name for path in tmp_path.iterdir()] + ["gone.nii.gz"]
    assert len(names) == 9
    for name in names:
        with pytest.raises(StudyError, match=f"'{name.split('.')[0]}'") as caught:
            read_volume(tmp_path / name)
        assert name in caught.value.cause
        assert caught.value.remedy


@pytest.mark.parametrize("name", ["cut.nii", "cut.nii.gz", "cut.nrrd"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_a_truncated_file_is_refused_never_filled_up(tmp_path: Path, name: str, share: float) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(noise((30, 30, 30))), tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(share * len(content))])
    with pytest.raises(StudyError, match=r"'cut'.*cannot be read"):
        read_volume(tmp_path / name)


def test_a_damaged_compressed_stream_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.nii.gz", noise((30, 30, 30)))
    content = bytearray((tmp_path / "a.nii.gz").read_bytes())
    content[len(content) // 2 : len(content) // 2 + 64] = b"x" * 64
    with pytest.raises((OSError, EOFError, zlib.error)):
        gzip.decompress(bytes(content))
    (tmp_path / "a.nii.gz").write_bytes(content)
    with pytest.raises(StudyError, match="cannot be read"):
        read_volume(tmp_path / "a.nii.gz")


def test_pictures_are_studies_and_their_labels_are_png(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b.jpg", "c.jpeg", "d.JPG", "e.gif", "labels/final/b.png", "labels/final/d.png")
    cases = find_cases(tmp_path)
    assert [case.id for case in cases] == ["a", "b", "c", "d"]
    assert [case.label.name if case.label else None for case in cases] == [None, "b.png", None, "d.png"]
    assert all(is_picture(case.image) for case in cases)
    assert not any(is_picture(name) for name in ("a.nii.gz", "png", "a.png.nii"))


def test_files_from_a_server_are_fetched_when_the_case_is_used(tmp_path: Path) -> None:
    fetched = []
    case = Case("1.2", tmp_path / "1.2.nii", fetch=lambda: fetched.append("1.2"))
    assert fetched == []
    assert case.on(TRAINING).usable().id == "1.2"
    assert fetched == ["1.2"]
    with pytest.raises(StudyError, match="two files"):
        dataclasses.replace(case, fault="it has two files").usable()
    assert fetched == ["1.2"], "nothing is fetched that cannot be used"


def test_a_fetched_case_says_its_state_without_its_files(tmp_path: Path) -> None:
    case = Case("1.2", tmp_path / "1.2.nii", tmp_path / "label.nii.gz", version="a")
    assert case.state() == case.state()
    assert case.state() != dataclasses.replace(case, version="b").state()
    assert case.state() != dataclasses.replace(case, label_version="b").state()
    unlabelled = dataclasses.replace(case, label=None)
    assert unlabelled.state() == dataclasses.replace(unlabelled, label_version="b").state()
    with pytest.raises(FileNotFoundError):
        dataclasses.replace(case, version="").state()


def test_the_state_of_files_changes_with_them(tmp_path: Path) -> None:
    image, label = tmp_path / "a.nii", tmp_path / "l.nii"
    image.write_bytes(b"1")
    label.write_bytes(b"1")
    states = [Case("a", image).state(), Case("a", image, label).state()]
    label.write_bytes(b"22")
    states.append(Case("a", image, label).state())
    image.write_bytes(b"22")
    states.append(Case("a", image, label).state())
    assert len({tuple(state) for state in states}) == 4


def test_cases_are_fetched_ahead_and_a_failure_waits_for_its_reader(tmp_path: Path) -> None:
    fetched = threading.Event()

    def fail() -> None:
        raise StudyError("b", "it is gone")

    first = Case("a", tmp_path / "a.nii", fetch=fetched.set)
    broken = Case("b", tmp_path / "b.nii", fetch=fail)
    with fetching([broken, first, Case("c", tmp_path / "c.nii")]):
        assert fetched.wait(10)
    with pytest.raises(StudyError, match="gone"):
        broken.usable()
