"""Labels as a Decathlon data set: read back by MONAI and by nibabel, voxel by voxel, and nothing written by halves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from monai.data import load_decathlon_datalist
from monai.transforms import LoadImaged
from PIL import Image

from lib.config import Config
from lib.errors import ConfigError, NotReadyError
from lib.export.dataset import Exported, export_dataset
from lib.studies.cases import find_cases
from lib.studies.labels import label_map
from lib.studies.modalities import project_cases
from lib.studies.phantom_patients import write_patients
from lib.studies.phantom_pictures import write_pictures
from lib.studies.phantoms import write_studies

SHAPE, SPACING = (24, 20, 12), (3.0, 3.0, 5.0)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Four studies, three labelled."""
    write_studies(tmp_path / "studies", 4, 3, shape=SHAPE, spacing=SPACING)
    return tmp_path / "studies"


def export(studies: Path, out: Path, modalities: tuple[str, ...] = (), **options: Any) -> tuple[Exported, dict]:
    config = Config(modalities=modalities, method="semi_cml" if modalities else "supervised")
    cases = project_cases(studies, modalities)
    done = export_dataset(cases, label_map(config, studies, cases), config, out, **options)
    return done, json.loads((out / "dataset.json").read_text())


def test_monai_reads_what_was_labelled(small: Path, tmp_path: Path) -> None:
    done, described = export(small, tmp_path / "out")
    assert done.training == ["phantom_000", "phantom_001", "phantom_002"]
    assert described["labels"] == {"0": "background", "1": "organ", "2": "lesion"}
    assert (described["numTraining"], described["numTest"], described["test"]) == (3, 0, [])
    assert described["modality"] == {"0": "MRI"}
    items = load_decathlon_datalist(tmp_path / "out" / "dataset.json", True, "training")
    assert len(items) == 3
    for item, study in zip(items, done.training, strict=True):
        read = LoadImaged(["image", "label"])(item)
        image, label = (nib.load(place / f"{study}.nii.gz") for place in (small, small / "labels" / "final"))
        np.testing.assert_array_equal(read["image"], image.get_fdata())
        np.testing.assert_array_equal(read["label"], label.get_fdata())
        np.testing.assert_allclose(read["label"].affine, image.affine)


def test_our_own_reader_finds_the_images_and_the_names(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done, _ = export(small, out, unlabelled=True)
    assert [case.id for case in find_cases(out / "imagesTr")] == done.training
    assert [case.id for case in find_cases(out / "imagesTs")] == done.test == ["phantom_003"]
    assert label_map(Config(), out).values == {1: "organ", 2: "lesion"}


def test_values_of_the_label_files_become_class_indices(small: Path, tmp_path: Path) -> None:
    (small / "dataset.json").write_text('{"labels": {"organ": 30, "lesion": 7}}')
    for file in (small / "labels" / "final").iterdir():
        old = nib.load(file)
        values = np.array([0, 30, 7], np.uint8)[np.asarray(old.dataobj)]
        nib.save(nib.Nifti1Image(values, old.affine), file)
    _, described = export(small, tmp_path / "out")
    assert described["labels"] == {"0": "background", "1": "lesion", "2": "organ"}
    own = np.asarray(nib.load(small / "labels" / "final" / "phantom_001.nii.gz").dataobj)
    written = np.asarray(nib.load(tmp_path / "out" / "labelsTr" / "phantom_001.nii.gz").dataobj)
    np.testing.assert_array_equal(written, np.select([own == 7, own == 30], [1, 2]))


@pytest.mark.parametrize(("ending", "kind"), [(".nii", np.int16), (".nrrd", np.int16), (".nrrd", np.int64)])
def test_other_formats_become_nifti_with_the_same_voxels(small: Path, tmp_path: Path, ending: str, kind: Any) -> None:
    old = small / "phantom_000.nii.gz"
    image = sitk.ReadImage(str(old))
    array = sitk.GetArrayFromImage(image).astype(kind)
    new = sitk.GetImageFromArray(array)
    new.CopyInformation(image)
    sitk.WriteImage(new, str(small / f"phantom_000{ending}"))
    affine = nib.load(old).affine
    old.unlink()
    export(small, tmp_path / "out")
    written = nib.load(tmp_path / "out" / "imagesTr" / "phantom_000.nii.gz")
    np.testing.assert_array_equal(np.asarray(written.dataobj), array.T)
    np.testing.assert_allclose(written.affine, affine, atol=1e-4)


@pytest.mark.parametrize("coloured", [True, False])
def test_pictures_stay_pictures(tmp_path: Path, coloured: bool) -> None:
    write_pictures(tmp_path / "pictures", 3, 2, size=(40, 24), coloured=coloured, ending=".jpg")
    _, described = export(tmp_path / "pictures", tmp_path / "out")
    assert described["modality"] == ({"0": "R", "1": "G", "2": "B"} if coloured else {"0": "grey"})
    assert described["tensorImageSize"] == "2D"
    assert described["training"][0] == {"image": "./imagesTr/picture_000.jpg", "label": "./labelsTr/picture_000.png"}
    assert (tmp_path / "out/imagesTr/picture_000.jpg").read_bytes() == (
        tmp_path / "pictures/picture_000.jpg"
    ).read_bytes()
    with (
        Image.open(tmp_path / "out/labelsTr/picture_000.png") as new,
        Image.open(tmp_path / "pictures/labels/final/picture_000.png") as own,
    ):
        np.testing.assert_array_equal(np.asarray(new), np.asarray(own))


def test_of_patients_one_series_is_written_with_the_label_on_its_grid(tmp_path: Path) -> None:
    """The labels were drawn on ct; mr has other voxels and another direction, so they are compared in mm."""
    names = ("ct", "mr")
    write_patients(tmp_path / "patients", 4, 3, names, {1: ["mr"]})
    with pytest.raises(ConfigError, match=r"--series: ct, mr"):
        export(tmp_path / "patients", tmp_path / "out", names)
    done, described = export(tmp_path / "patients", tmp_path / "out", names, series="mr")
    assert done.training == ["patient_000", "patient_002"]
    assert described["modality"] == {"0": "MRI"}
    label = nib.load(tmp_path / "out/labelsTr/patient_000.nii.gz")
    image = nib.load(tmp_path / "out/imagesTr/patient_000.nii.gz")
    own = nib.load(next((tmp_path / "patients/labels/final").glob("patient_000*")))
    assert label.shape == image.shape != own.shape
    for value in (1, 2):
        voxels = [np.argwhere(np.asarray(each.dataobj) == value) for each in (label, own)]
        volumes = [len(each) * abs(np.linalg.det(grid.affine)) for each, grid in zip(voxels, (label, own), strict=True)]
        middles = [nib.affines.apply_affine(g.affine, v).mean(0) for g, v in zip((label, own), voxels, strict=True)]
        assert volumes[0] == pytest.approx(volumes[1], rel=0.25)
        np.testing.assert_allclose(middles[0], middles[1], atol=2.0)


def test_a_study_that_cannot_be_used_is_named_and_leaves_nothing(small: Path, tmp_path: Path) -> None:
    label = small / "labels" / "final" / "phantom_001.nii.gz"
    nib.save(nib.Nifti1Image(np.ones((3, 3, 3), np.uint8), np.eye(4)), label)
    (small / "phantom_002.nii.gz").write_bytes(b"broken")
    done, described = export(small, tmp_path / "out")
    assert done.training == ["phantom_000"]
    assert set(done.skipped) == {"phantom_001", "phantom_002"}
    assert described["numTraining"] == 1
    files = {file.name for file in (tmp_path / "out").rglob("*") if file.is_file()}
    assert files == {"dataset.json", "phantom_000.nii.gz"}


def test_nothing_is_mixed_with_what_is_there_and_nothing_made_of_nothing(small: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        export(small, tmp_path / "out")
    with pytest.raises(ConfigError, match="--series names one of several"):
        export(small, tmp_path / "new", series="ct")
    for file in (small / "labels" / "final").iterdir():
        file.unlink()
    with pytest.raises(NotReadyError, match="No study is labelled"):
        export(small, tmp_path / "new")
    assert not (tmp_path / "new").exists()
