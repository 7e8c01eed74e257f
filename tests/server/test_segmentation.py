"""The infer task: the file a client asked for, on the image's own grid, and what is said about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from lib.errors import ConfigError, NotReadyError, StudyError
from lib.server.live import LiveModel
from lib.server.segmentation import SegmentationTask


@pytest.fixture
def task(live: LiveModel) -> SegmentationTask:
    return SegmentationTask(live)


@pytest.fixture
def image(studies: Path) -> Path:
    return studies / "phantom_004.nii.gz"


@pytest.fixture
def segment(task: SegmentationTask, publish: Callable[..., str], image: Path) -> Iterator[Callable[..., Any]]:
    publish()
    files: list[str] = []

    def segmented(**parameters: Any) -> tuple[Path, dict]:
        file, answer = task({"image": image} | parameters)
        files.append(file)
        return Path(file), answer

    yield segmented
    for file in files:
        Path(file).unlink()


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd"])
def test_the_label_lies_on_the_grid_of_the_image(segment: Callable[..., Any], image: Path, ending: str) -> None:
    file, answer = segment(result_extension=ending)
    assert file.name.endswith(ending)
    label, original = sitk.ReadImage(str(file)), sitk.ReadImage(str(image))
    assert label.GetSize() == original.GetSize()
    for own, its in (("GetOrigin", 1e-3), ("GetSpacing", 1e-5), ("GetDirection", 1e-5)):
        np.testing.assert_allclose(getattr(label, own)(), getattr(original, own)(), atol=its)
    assert set(np.unique(sitk.GetArrayFromImage(label))) <= {0, 1, 2}
    assert answer["content"] == "label"


def test_both_file_types_hold_the_same(segment: Callable[..., Any]) -> None:
    files = [segment(result_extension=ending)[0] for ending in (".nii.gz", ".nrrd")]
    one, other = (sitk.GetArrayFromImage(sitk.ReadImage(str(file))) for file in files)
    np.testing.assert_array_equal(one, other)


def test_the_answer_says_what_was_done(segment: Callable[..., Any]) -> None:
    _, answer = segment()
    assert answer["label_names"] == {"organ": 1, "lesion": 2}
    assert answer["version"] == "0001"
    parts = [seconds for stage, seconds in answer["latencies"].items() if stage != "total"]
    assert answer["latencies"]["total"] >= sum(parts) - 1e-3
    assert {"wait", "preprocess", "network", "restore", "write"} <= set(answer["latencies"])


def test_the_uncertainty_map_comes_instead_of_the_label(segment: Callable[..., Any], image: Path) -> None:
    file, answer = segment(uncertainty=True, result_extension=".nii.gz", result_dtype="uint8")
    assert answer["content"] == "uncertainty"
    doubt = nib.load(file)
    assert doubt.get_data_dtype() == np.float32
    assert doubt.shape == nib.load(image).shape
    assert 0 <= doubt.get_fdata().min() < doubt.get_fdata().max() <= 1


def test_value_type_and_compression_are_the_clients_choice(segment: Callable[..., Any]) -> None:
    plain, _ = segment(result_extension=".nrrd", result_dtype="uint16", result_compress=False)
    small, _ = segment(result_extension=[".nrrd", ".nii"], result_compress="true")
    header = plain.read_bytes()[:400]
    assert b"type: unsigned short" in header or b"type: uint16" in header
    assert b"encoding: raw" in header
    assert b"encoding: gzip" in small.read_bytes()[:400]


@pytest.mark.parametrize("wrong", [{"result_extension": ".jpg"}, {"result_dtype": "text"}, {"uncertainty": "maybe"}])
def test_parameters_that_do_not_exist(segment: Callable[..., Any], wrong: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        segment(**wrong)


def test_an_image_that_cannot_be_read(segment: Callable[..., Any], image: Path) -> None:
    image.write_bytes(image.read_bytes()[:1000])
    with pytest.raises(StudyError, match="phantom_004"):
        segment()


def test_clients_see_a_model_only_once_there_is_one(
    task: SegmentationTask, publish: Callable[..., str], image: Path
) -> None:
    assert not task.is_valid()
    assert task.get_path() is None
    assert task.info()["config"] is not None
    with pytest.raises(NotReadyError, match="no model yet"):
        task({"image": image})
    publish()
    assert task.is_valid()
    assert task.info()["labels"] == {"organ": 1, "lesion": 2}
    assert task.info()["version"] == "0001"
    assert Path(str(task.get_path())).is_file()
