"""What is refused before it is stored, and with which words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lib.config import Config
from lib.errors import NotReadyError, StudyError
from lib.server.checks import check_image, check_label, check_name
from lib.studies.cases import Case
from lib.studies.phantoms import phantom

AFFINE = np.diag([1.5, 1.5, 2.5, 1.0])
NAMED = {1: "organ", 2: "lesion"}
UNNAMED = Config()  # no class has a name by the settings


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def written(array: np.ndarray, affine: np.ndarray = AFFINE, name: str = "upload.nii.gz") -> Path:
        nib.save(nib.Nifti1Image(array, affine), tmp_path / name)
        return tmp_path / name

    return written


@pytest.fixture
def check(write: Callable[..., Path], tmp_path: Path) -> Callable[..., None]:
    """Checks a label of the phantom against its image."""
    image = write(phantom(0, (24, 24, 16))[0].astype(np.float32), name="study.nii.gz")

    def checked(label: Path, values: dict | None = NAMED, config: Config = UNNAMED, others: tuple = ()) -> None:
        check_label(Case("study", image, label, values), config, tmp_path, others, tmp_path)

    return checked


@pytest.fixture
def label() -> np.ndarray:
    return phantom(0, (24, 24, 16))[1]


@pytest.mark.parametrize("name", ["a", "study 1", "1.2.840.113619", "Ärztin-7"])
def test_names_that_stay_in_their_folder(name: str) -> None:
    check_name("study id", name)


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "/etc/x", "a/b", "a\\b", "../x", "a\0b", "a\nb", "x" * 201])
def test_names_that_lead_elsewhere(name: str) -> None:
    with pytest.raises(StudyError, match="study id"):
        check_name("study id", name)


def test_a_whole_label_and_an_empty_one_are_fine(check: Callable, write: Callable, label: np.ndarray) -> None:
    check(write(label))
    check(write(np.zeros_like(label)))
    check(write(np.zeros_like(label)), values=None)  # nobody has named a class, and none is needed
    check(write(label), values=None, config=Config(labels=("organ", "lesion")))
    check(write(label), values=None, others=(Case("other", Path("x"), Path("y"), NAMED),))


def test_labels_that_do_not_fit_their_image(check: Callable, write: Callable, label: np.ndarray) -> None:
    moved = AFFINE + np.array([[0, 0, 0, 9.0]] + [[0] * 4] * 3)
    for array, affine, words in (
        (label, moved, "elsewhere in space"),
        (label, np.diag([1.5, 1.5, 5.0, 1.0]), "elsewhere in space"),
        (label[..., None].repeat(2, -1), AFFINE, "4 dimensions"),
        (label + np.uint8(5), AFFINE, "value 5"),
    ):
        with pytest.raises(StudyError, match=f"Study 'study'.*{words}"):
            check(write(array, affine))


def test_values_that_nobody_has_named(check: Callable, write: Callable, label: np.ndarray) -> None:
    with pytest.raises(StudyError, match="value 2"):
        check(write(label), values={1: "organ"})
    with pytest.raises(NotReadyError, match="no names yet"):
        check(write(label), values=None)


def test_files_that_are_no_labels(check: Callable, tmp_path: Path) -> None:
    for name, words in (
        ("label.pdf", "type '.pdf'"),
        ("label", "without an ending"),
        ("label.nii.gz", "cannot be read"),
    ):
        (tmp_path / name).write_bytes(b"no image")
        with pytest.raises(StudyError, match=words) as refused:
            check(tmp_path / name)
        assert "label.nii.gz" not in str(refused.value)  # the upload's temporary name means nothing to its sender


def test_images_that_can_be_read(write: Callable, label: np.ndarray, tmp_path: Path) -> None:
    check_image("study", write(label))
    whole = write(label).read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    for file in (tmp_path / "cut.nii.gz", write(label[0], name="flat.nii.gz"), tmp_path / "image.jpg"):
        with pytest.raises(StudyError, match="Study 'study'"):
            check_image("study", file)
