"""Values by name, whatever their order, and every way in which a label cannot be meant."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lib.config import Config
from lib.errors import ConfigError, NotReadyError, StudyError
from lib.studies.cases import Case
from lib.studies.labels import LabelMap, label_map, read_label
from lib.studies.pictures import save_mask

SHAPE = (6, 6, 4)
AFFINE = np.array([[-1.5, 0.2, 0, 10], [0.1, -1.5, 0, -20], [0, 0, 2.5, 30], [0, 0, 0, 1]])
PICTURE = np.diag([-1.0, -1, 1, 1])  # the affine of every picture
MAP = LabelMap({1: "liver", 4: "tumour"})


def case_with(
    tmp_path: Path, array: np.ndarray, affine: np.ndarray = AFFINE, values: dict[int, str] | None = None
) -> Case:
    path = tmp_path / "case.nii.gz"
    nib.save(nib.Nifti1Image(array, affine), path)
    return Case("case", tmp_path / "image.nii.gz", path, values)


def blocks(*values: float, dtype: type = np.uint8) -> np.ndarray:
    """One voxel layer of each value, the rest background."""
    array = np.zeros(SHAPE, dtype)
    for place, value in enumerate(values):
        array[place] = value
    return array


def test_classes_are_numbered_by_ascending_value() -> None:
    labels = LabelMap({7: "spleen", 2: "liver"})
    assert labels.names == ("liver", "spleen")
    values = labels.to_values(np.array([[0, 1], [2, 0]]))
    assert values.tolist() == [[0, 2], [7, 0]]
    assert values.dtype == np.uint8


def test_the_map_is_that_of_the_settings_before_that_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"other": 1}}))
    assert label_map(Config(labels=("liver", "tumour=4")), tmp_path).values == {1: "liver", 4: "tumour"}
    assert label_map(Config(), tmp_path).values == {1: "other"}


@pytest.mark.parametrize(
    "labels", [{"0": "background", "1": "liver", "4": "tumour"}, {"background": 0, "tumour": 4, "liver": 1}]
)
def test_both_forms_of_dataset_json(tmp_path: Path, labels: dict) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    assert label_map(Config(), tmp_path).values == {1: "liver", 4: "tumour"}


@pytest.mark.parametrize(
    "content",
    ["{ broken", "[]", '{"labels": {"liver": [1, 2]}}', '{"labels": {"liver": "one"}}', '{"labels": 3}'],
)
def test_a_dataset_json_that_cannot_be_understood_is_a_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(ConfigError, match=r"dataset\.json"):
        label_map(Config(), tmp_path)


def test_submitted_labels_name_the_classes_if_nothing_else_does(tmp_path: Path) -> None:
    cases = [
        Case("b", tmp_path, tmp_path, {1: "tumour", 2: "liver"}),
        Case("a", tmp_path, tmp_path, {0: "background", 1: "liver"}),
        Case("c", tmp_path),
    ]
    found = label_map(Config(), tmp_path, cases)
    assert found.values[1] == "liver"  # of the first study by id
    assert sorted(found.names) == ["liver", "tumour"]
    assert found == label_map(Config(), tmp_path, cases[::-1])


def test_no_name_anywhere_says_how_to_give_one(tmp_path: Path) -> None:
    with pytest.raises(NotReadyError, match="--conf labels"):
        label_map(Config(), tmp_path, [Case("a", tmp_path, tmp_path)])


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_values_become_classes_whatever_the_type_of_the_file(tmp_path: Path, dtype: type) -> None:
    classes = read_label(case_with(tmp_path, blocks(1, 4, dtype=dtype)), MAP, SHAPE, AFFINE)
    assert classes.dtype == np.uint8
    assert np.array_equal(classes, blocks(1, 2))


def test_the_submitters_values_go_by_their_names(tmp_path: Path) -> None:
    case = case_with(tmp_path, blocks(1, 2, 3), values={1: "tumour", 2: "liver", 3: "liver"})
    assert np.array_equal(read_label(case, MAP, SHAPE, AFFINE), blocks(2, 1, 1))


def test_an_empty_label_means_nothing_there(tmp_path: Path) -> None:
    assert not read_label(case_with(tmp_path, blocks()), MAP, SHAPE, AFFINE).any()


@pytest.mark.parametrize("value", [2, 1.5, -1, 300, np.nan])
def test_a_value_without_a_name_is_reported_never_background(tmp_path: Path, value: float) -> None:
    with pytest.raises(StudyError, match=r"case.*value.*1=liver, 4=tumour"):
        read_label(case_with(tmp_path, blocks(1, value, dtype=np.float32)), MAP, SHAPE, AFFINE)


def test_a_name_that_is_no_class_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="kidney"):
        read_label(case_with(tmp_path, blocks(1), values={1: "kidney"}), MAP, SHAPE, AFFINE)


def test_a_label_of_another_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"\(6, 6, 4\).*\(6, 6, 5\)"):
        read_label(case_with(tmp_path, blocks(1)), MAP, (6, 6, 5), AFFINE)


def moved(*millimetres: float) -> np.ndarray:
    affine = AFFINE.copy()
    affine[:3, 3] += millimetres
    return affine


@pytest.mark.parametrize(
    "affine",
    [
        moved(1.0, 0, 0),
        AFFINE @ np.diag([-1.0, 1, 1, 1]),
        AFFINE @ np.diag([1.1, 1, 1, 1]),
        AFFINE[:, [1, 0, 2, 3]],
        np.eye(4),
    ],
    ids=["moved", "mirrored", "stretched", "transposed", "no geometry"],
)
def test_a_label_elsewhere_in_space_is_refused(tmp_path: Path, affine: np.ndarray) -> None:
    with pytest.raises(StudyError, match="elsewhere in space"):
        read_label(case_with(tmp_path, blocks(1), affine), MAP, SHAPE, AFFINE)


def test_rounding_of_the_geometry_in_the_file_is_no_other_grid(tmp_path: Path) -> None:
    assert read_label(case_with(tmp_path, blocks(1), moved(0.02, -0.02, 0.02)), MAP, SHAPE, AFFINE).any()


def test_an_unreadable_label_is_named_with_its_study(tmp_path: Path) -> None:
    case = case_with(tmp_path, blocks(1))
    assert case.label is not None
    case.label.write_bytes(case.label.read_bytes()[:40])
    with pytest.raises(StudyError, match="'case': its label"):
        read_label(case, MAP, SHAPE, AFFINE)
    with pytest.raises(StudyError, match="no label"):
        read_label(Case("case", case.image), MAP, SHAPE, AFFINE)


def drawn(tmp_path: Path, label: np.ndarray, values: dict[int, str] | None = None) -> Case:
    """A picture's case with this label, (columns, rows)."""
    save_mask(tmp_path / "case.png", label[..., None])
    return Case("case", tmp_path / "image.jpg", tmp_path / "case.png", values)


def test_a_picture_has_a_mask_of_grey_values(tmp_path: Path) -> None:
    values = np.array([[0, 1, 4], [4, 4, 0]], np.uint8)
    found = read_label(drawn(tmp_path, values), MAP, (2, 3, 1), PICTURE)
    assert found[..., 0].tolist() == [[0, 1, 2], [2, 2, 0]]


def test_white_is_the_only_class_but_not_one_of_several(tmp_path: Path) -> None:
    values = np.array([[0, 255, 255]], np.uint8)
    one = LabelMap({3: "nucleus"})
    assert read_label(drawn(tmp_path, values), one, (1, 3, 1), PICTURE).ravel().tolist() == [0, 1, 1]
    named = drawn(tmp_path, values, values={0: "background", 1: "nucleus"})
    assert read_label(named, one, (1, 3, 1), PICTURE).ravel().tolist() == [0, 1, 1]
    for labels, wrong in ((MAP, values), (one, np.array([[3, 255, 0]], np.uint8)), (one, values // 2)):
        with pytest.raises(StudyError, match="which no class has"):
            read_label(drawn(tmp_path, wrong), labels, (1, 3, 1), PICTURE)


def test_a_volume_of_white_voxels_stays_an_error(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="value 255"):
        read_label(case_with(tmp_path, blocks(255)), LabelMap({3: "nucleus"}), SHAPE, AFFINE)


@pytest.mark.parametrize("size", [0.3528, 1.0, 25.0])
def test_a_volume_drawn_on_a_picture_may_have_pixels_of_any_size(tmp_path: Path, size: float) -> None:
    """ITK takes the size of a JPEG's pixels from its dots per inch."""
    values = np.array([[[0], [1], [4]], [[1], [1], [0]]], np.uint8)
    for affine, fits in ((PICTURE @ np.diag([size, size, size, 1]), True), (np.diag([size, -size, size, 1]), False)):
        nib.save(nib.Nifti1Image(values, affine), tmp_path / "case.nii.gz")
        case = Case("case", tmp_path / "image.jpg", tmp_path / "case.nii.gz")
        if fits:
            assert read_label(case, MAP, (2, 3, 1), PICTURE).ravel().tolist() == [0, 1, 2, 1, 1, 0]
        else:
            with pytest.raises(StudyError, match="elsewhere in space"):
                read_label(case, MAP, (2, 3, 1), PICTURE)
