"""Pictures through the server's parts: listed, checked, labelled with a PNG, segmented into one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lib.config import Config
from lib.errors import ConfigError, StudyError
from lib.inference.model_file import Model
from lib.methods.registry import build_method
from lib.server.app import SemisegApp
from lib.server.checks import check_image
from lib.server.datastore import FolderDatastore
from lib.server.live import LiveModel
from lib.server.segmentation import SegmentationTask
from lib.studies.labels import LabelMap
from lib.studies.phantom_pictures import write_pictures
from lib.studies.phantoms import LABELS
from lib.studies.plan import Plan
from lib.studies.reading import read_volume
from lib.training.model_folder import ModelFolder

SIZE = (40, 24)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """``picture_000`` to ``picture_003``, JPEG and coloured, of which the first two are labelled."""
    write_pictures(tmp_path / "pictures", 4, 2, size=SIZE, ending=".jpg")
    return tmp_path / "pictures"


@pytest.fixture
def datastore(pictures: Path, config: Config) -> FolderDatastore:
    return FolderDatastore(str(pictures), config)


@pytest.fixture
def task(folder: ModelFolder, config: Config, live: LiveModel) -> SegmentationTask:
    """With a model of random weights that sees colours."""
    plan = Plan((1.0, 1.0, 1.0), "picture", (16, 16, 1), dimension=2, channels=3)
    torch.manual_seed(0)
    method = build_method(config, plan.channels, len(LABELS) + 1, plan.network_patch)
    labels = LabelMap({value: name for name, value in LABELS.items()})
    folder.publish(Model(config, plan, labels, method.state_dict(), plan.channels), keep=3)
    return SegmentationTask(live)


@pytest.fixture
def segment(task: SegmentationTask, pictures: Path) -> Callable[..., tuple[Path, dict]]:
    def segmented(**parameters: Any) -> tuple[Path, dict]:
        file, answer = task({"image": pictures / "picture_003.jpg"} | parameters)
        kept = Path(file).rename(pictures.parent / f"result{''.join(Path(file).suffixes)}")
        return kept, answer

    return segmented


def mask(folder: Path, values: np.ndarray, name: str = "upload.png") -> str:
    Image.fromarray(values).save(folder / name)
    return str(folder / name)


def test_pictures_and_their_labels_are_listed(datastore: FolderDatastore) -> None:
    assert sorted(datastore.list_images()) == [f"picture_00{number}" for number in range(4)]
    assert sorted(datastore.get_labeled_images()) == ["picture_000", "picture_001"]


def test_a_png_is_kept_as_the_label_of_a_picture(datastore: FolderDatastore, pictures: Path, tmp_path: Path) -> None:
    values = np.zeros(SIZE[::-1], np.uint8)
    values[4:9] = 2
    datastore.save_label("picture_002", mask(tmp_path, values), "final", {})
    stored = pictures / "labels" / "final" / "picture_002.png"
    assert np.array_equal(read_volume(stored)[0][..., 0].T, values)
    assert datastore.get_label_uri("picture_002", "final") == str(stored)


def test_labels_that_say_nothing_certain_are_refused(datastore: FolderDatastore, tmp_path: Path) -> None:
    empty = np.zeros(SIZE[::-1], np.uint8)
    colours = np.random.default_rng(0).integers(0, 255, (*SIZE[::-1], 3), dtype=np.uint8)
    for values, name, words in (
        (colours, "upload.png", "grey values"),
        (empty, "upload.jpg", "JPEG"),
        (empty[:-1], "upload.png", "shape"),
        (empty + 7, "upload.png", "value 7"),
        (empty + 255, "upload.png", "value 255"),  # white means a class only where there is one
    ):
        with pytest.raises(StudyError, match=rf"'picture_002'.*{words}") as refused:
            datastore.save_label("picture_002", mask(tmp_path, values, name), "final", {})
        assert "upload" not in str(refused.value)
    assert "picture_002" not in datastore.get_labeled_images()


def test_an_uploaded_picture_must_be_one(datastore: FolderDatastore, pictures: Path, tmp_path: Path) -> None:
    whole = (pictures / "picture_000.jpg").read_bytes()
    (tmp_path / "photo.JPG").write_bytes(whole)
    check_image("study", tmp_path / "photo.JPG")
    datastore.add_image("photo", str(tmp_path / "photo.JPG"), {})
    assert "photo" in datastore.list_images()
    (tmp_path / "photo.JPG").write_bytes(whole[:300])
    with pytest.raises(StudyError, match=r"Study 'study'.*cannot be read"):
        check_image("study", tmp_path / "photo.JPG")


def test_a_picture_comes_back_as_a_png_of_its_size(segment: Callable[..., tuple[Path, dict]]) -> None:
    file, answer = segment()
    assert (file.suffix, answer["content"]) == (".png", "label")
    with Image.open(file) as image:
        assert (image.size, image.mode) == (SIZE, "L")
        values = np.asarray(image)
    assert set(np.unique(values)) <= {0, 1, 2}
    deep, _ = segment(result_dtype="uint16")
    with Image.open(deep) as image:
        assert np.array_equal(np.asarray(image), values)
    for ending in (".nrrd", ".nii.gz"):
        other, _ = segment(result_extension=ending)
        assert other.name.endswith(ending)
        assert np.array_equal(read_volume(other)[0][..., 0].T, values)


def test_what_does_not_fit_a_png_is_another_file_or_refused(
    segment: Callable[..., tuple[Path, dict]], task: SegmentationTask, studies: Path
) -> None:
    for parameters in ({"uncertainty": True}, {"result_dtype": "float32"}):
        assert segment(**parameters)[0].suffix == ".nrrd"
        with pytest.raises(ConfigError, match=r"\.png.*choose \.nrrd"):
            segment(result_extension=".png", **parameters)
    with pytest.raises(ConfigError, match=r"result_extension.*choose \.nrrd"):
        task({"image": studies / "phantom_004.nii.gz", "result_extension": ".png"})


def test_the_app_segments_a_picture_and_keeps_the_result(
    task: SegmentationTask, pictures: Path, folder: ModelFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monailabel.config.settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD", False)
    monkeypatch.setattr("monailabel.config.settings.MONAI_LABEL_SESSION_PATH", str(tmp_path / "sessions"))
    monkeypatch.setattr("lib.server.training.tasks", lambda _: [])
    app = SemisegApp(str(tmp_path), str(pictures), {"model": str(folder.path), "server_mode": "true", "device": "cpu"})
    found = app.infer({"model": "semiseg", "image": "picture_003", "save_label": True, "label_tag": "original"})
    assert found["params"]["version"] == "0001"
    assert (pictures / "labels" / "original" / "picture_003.png").is_file()
