"""A bundle, run by MONAI alone in a process of its own, gives the labels that the model gives, voxel by voxel."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import monai.bundle
import nibabel as nib
import numpy as np
import pytest
from monai.bundle.properties import InferProperties
from PIL import Image

from lib.errors import ConfigError
from lib.export.bundle import export_bundle
from lib.inference.model_file import Model
from lib.inference.segmenter import Segmenter
from lib.studies.phantom_patients import write_patients
from lib.studies.phantom_pictures import write_pictures
from lib.studies.phantoms import write_studies
from lib.studies.reading import read_volume
from tests.export.test_network import model
from tests.training.conftest import thin_networks  # noqa: F401


@pytest.fixture
def run_here(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, Path, Path], None]:
    """What the command does, without waiting for another Python."""

    def run(bundle: Path, images: Path, labels: Path) -> None:
        monkeypatch.chdir(bundle)
        monkeypatch.syspath_prepend(str(bundle))
        for module in ("scripts", "scripts.transforms"):
            monkeypatch.delitem(sys.modules, module, raising=False)
        monai.bundle.run(config_file="configs/inference.json", dataset_dir=str(images), output_dir=str(labels))

    return run


def run_alone(bundle: Path, images: Path, labels: Path) -> None:
    """As the README of the bundle says; without the program's folder on the path."""
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/inference.json"]
    command += ["--dataset_dir", str(images), "--output_dir", str(labels)]
    done = subprocess.run(command, cwd=bundle, capture_output=True, text=True, env={"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-2000:]


def expected(own: Model, image: Path, modality: str | None = None) -> np.ndarray:
    segmenter = Segmenter(own.build(), own.plan, own.labels, own.config.replace(device="cpu", precision="fp32"))
    return segmenter(image, modality=modality).label


def turned(folder: Path, spacing: tuple[float, float, float]) -> Path:
    """Two volumes: one in another orientation and oblique, one with a voxel that is no number."""
    write_studies(folder, 2, 0, shape=(30, 26, 12), spacing=spacing)
    files = sorted(folder.glob("*.nii.gz"))
    image = nib.load(files[0])
    array, affine = np.asarray(image.dataobj).transpose(2, 0, 1)[::-1], image.affine[:, [2, 0, 1, 3]].copy()
    affine[:3, 0] *= -1
    angle = np.deg2rad(12)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    nib.save(nib.Nifti1Image(np.ascontiguousarray(array), turn @ affine), files[0])
    image = nib.load(files[1])
    array = np.array(image.dataobj, dtype=np.float32)
    array[3, 4, 5] = np.nan
    nib.save(nib.Nifti1Image(array, image.affine), files[1])
    return folder


def test_monai_alone_labels_volumes_as_the_model_does(tmp_path: Path) -> None:
    own = model("volumes")
    images = turned(tmp_path / "images", (2.0, 1.5, 2.5))
    assert export_bundle(own, tmp_path / "bundle") <= 1e-6
    run_alone(tmp_path / "bundle", images, tmp_path / "labels")
    same_labels(own, images, tmp_path / "labels")


def test_slices_are_labelled_as_by_the_model(tmp_path: Path, run_here: Callable[[Path, Path, Path], None]) -> None:
    """Of pixels less than half as large as those of the training, which are averaged."""
    own = model("slices")
    images = turned(tmp_path / "images", (0.4, 0.4, 5.0))
    export_bundle(own, tmp_path / "bundle")
    run_here(tmp_path / "bundle", images, tmp_path / "labels")
    same_labels(own, images, tmp_path / "labels")


def same_labels(own: Model, images: Path, labels: Path) -> None:
    for image in sorted(images.glob("*.nii.gz")):
        found, wanted = nib.load(labels / image.name), expected(own, image)
        assert len(np.unique(wanted)) > 1
        assert set(np.unique(wanted)) <= {0, 1, 5, 7}
        np.testing.assert_array_equal(np.asarray(found.dataobj), wanted)
        np.testing.assert_allclose(found.affine, nib.load(image).affine, atol=1e-4)


@pytest.mark.parametrize("coloured", [True, False])
def test_pictures_are_labelled_as_by_the_model(
    coloured: bool, tmp_path: Path, run_here: Callable[[Path, Path, Path], None]
) -> None:
    own = model("pictures")
    write_pictures(tmp_path / "images", 2, 0, size=(40, 24), coloured=coloured, ending=".png")
    with Image.open(tmp_path / "images" / "picture_001.png") as picture:
        picture.convert("RGBA" if coloured else "L").save(tmp_path / "images" / "picture_001.png")
    export_bundle(own, tmp_path / "bundle")
    run_here(tmp_path / "bundle", tmp_path / "images", tmp_path / "labels")
    for image in sorted((tmp_path / "images").glob("*.png")):
        np.testing.assert_array_equal(read_volume(tmp_path / "labels" / image.name)[0], expected(own, image))


def test_of_several_modalities_the_named_one_is_exported(
    tmp_path: Path, run_here: Callable[[Path, Path, Path], None]
) -> None:
    own = model("modalities")
    write_patients(tmp_path / "patients", 1, 0, ("ct", "mr"))
    images = tmp_path / "images"
    images.mkdir()
    (tmp_path / "patients" / "patient_000_mr.nii.gz").rename(images / "x.nii.gz")
    export_bundle(own, tmp_path / "bundle", "mr")
    run_here(tmp_path / "bundle", images, tmp_path / "labels")
    found = np.asarray(nib.load(tmp_path / "labels" / "x.nii.gz").dataobj)
    np.testing.assert_array_equal(found, expected(own, images / "x.nii.gz", "mr"))


def test_it_has_what_the_specification_asks_for(tmp_path: Path) -> None:
    """Mandatory files and keys of the MONAI Bundle Specification, and the ids of MONAI's InferProperties."""
    own = model("slices")
    export_bundle(own, tmp_path / "bundle")
    for name in ("configs/metadata.json", "models/model.pt", "models/model.ts", "docs/README.md", "docs/license.txt"):
        assert (tmp_path / "bundle" / name).is_file(), name
    described = json.loads((tmp_path / "bundle" / "configs" / "metadata.json").read_text())
    mandatory = "version monai_version pytorch_version numpy_version required_packages_version task description authors"
    assert {*mandatory.split(), "copyright", "network_data_format"} <= described.keys()
    tensor = "type format modality num_channels spatial_shape dtype value_range is_patch_data channel_def"
    ((image,), (pred,)) = (tuple(described["network_data_format"][side].values()) for side in ("inputs", "outputs"))
    assert set(tensor.split()) <= image.keys() & pred.keys()
    assert (image["modality"], image["format"]) == ("CT", "hounsfield")
    assert pred["channel_def"] == {"0": "background", "1": "a", "2": "b", "3": "c"}
    config = json.loads((tmp_path / "bundle" / "configs" / "inference.json").read_text())
    assert {name for name, about in InferProperties.items() if about["required"]} <= config.keys()


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        export_bundle(model("volumes"), tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]
