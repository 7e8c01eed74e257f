"""One round over HTTP with the real server: label, train, segment, choose the next study, score."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import requests
import SimpleITK as sitk

from lib.studies.phantoms import write_studies

INFO = [{"name": "organ", "idx": 1}, {"name": "lesion", "idx": 2}]
FEW = {"iterations": 12, "network": "residual_unet", "size": "small", "validations": 2, "batch_unlabelled": 1}


class Place:
    """A studies folder without labels, and where its labels lie."""

    def __init__(self, folder: Path) -> None:
        self.studies, truth = folder / "studies", folder / "truth"
        self.ids = write_studies(self.studies, 7, 0, shape=(40, 36, 24))
        write_studies(truth, 7, 7, shape=(40, 36, 24))
        self.labels = {study: truth / "labels" / "final" / f"{study}.nii.gz" for study in self.ids}
        (self.studies / "dataset.json").unlink()  # the classes are named by the labels that are submitted
        (self.studies / "folder.nii.gz").mkdir()
        whole = (self.studies / f"{self.ids[0]}.nii.gz").read_bytes()
        (self.studies / "truncated.nii.gz").write_bytes(whole[: len(whole) // 2])
        nib.save(nib.Nifti1Image(np.zeros((16, 16), np.int16), np.eye(4)), self.studies / "flat.nii.gz")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def place(folder: Path) -> Place:
    return Place(folder)


@pytest.fixture(scope="module")
def server(place: Place, folder: Path, start_server: Callable[..., Any]) -> Any:
    conf = {"model": folder / "model", "patch": "16,16,16", "workers": 0, "threads": 1, "validation": 0.34}
    return start_server(place.studies, folder, **conf).wait_until_ready()


def detail(answer: Any) -> str:
    """The sentence of a failure, which every failure must have."""
    sentence = (answer if isinstance(answer, dict) else answer.json())["detail"]
    assert len(sentence.split()) > 3
    assert "Traceback" not in sentence
    return sentence


def train(server: Any, **settings: Any) -> list[dict[str, Any]]:
    """Press Train and watch as the clients do: the stats seen on the way, the last of them after the end."""
    assert server.post("/train/semiseg", FEW | settings)["status"] in ("SUBMITTED", "RUNNING")
    seen = []
    end = time.monotonic() + 200
    while time.monotonic() < end:
        status = server.get("/train/")["status"]
        seen.append(server.get("/info/")["train_stats"]["semiseg"])
        if status not in ("SUBMITTED", "RUNNING"):
            assert status == "DONE", server.get("/train/")
            return seen
        time.sleep(0.3)
    raise AssertionError(f"The training did not end: {seen[-1]}")


def read(content: bytes, file: Path) -> tuple[np.ndarray, np.ndarray]:
    """A label as the server sent it, and where its corners lie in mm."""
    file.write_bytes(content)
    image = sitk.ReadImage(str(file))
    corners = [image.TransformIndexToPhysicalPoint(corner) for corner in ((0, 0, 0), [n - 1 for n in image.GetSize()])]
    return sitk.GetArrayFromImage(image), np.array(corners)


def test_a_round(server: Any, place: Place, folder: Path, tmp_path: Path) -> None:
    info = server.get("/info/")
    assert info["labels"] == []
    assert info["models"] == {}
    assert info["datastore"] == {"total": 9, "completed": 0, "label_tags": {}}
    assert "no model yet" in detail(server.infer(place.ids[0], status=409))
    assert "labelled" in detail(server.post("/train/semiseg", status=409))
    assert server.post("/activelearning/uncertainty")["id"] in [*place.ids, "truncated", "flat"]

    for study in place.ids[:3]:
        assert server.put_label(study, place.labels[study], INFO) == {"image": study, "label": study}
    empty = tmp_path / "empty.nii.gz"
    truth = nib.load(place.labels[place.ids[3]])
    nib.save(nib.Nifti1Image(np.zeros(truth.shape, np.uint8), truth.affine), empty)
    server.put_label(place.ids[3], empty)
    assert server.get("/datastore/label/info", label=place.ids[0], tag="final")["label_info"] == INFO
    assert server.get("/info/")["labels"] == ["organ", "lesion"]
    assert server.get("/info/")["datastore"]["completed"] == 4

    stats = train(server)
    running, ended = stats[:-1], stats[-1]
    assert all("total_time" not in each for each in running[:3])
    assert all(0 < each["epoch"] <= each["total_epochs"] for each in stats)
    assert len({each["epoch"] for each in stats}) > 2  # it moves within the one epoch
    assert ended["total_time"]
    assert ended["best_metric"] >= 0
    assert ended["status"] == "done"
    (manifest,) = (folder / "model" / "runs").glob("*/manifest.json")
    assert "folder" in json.loads(manifest.read_text())["skipped"]

    info = server.get("/info/")
    assert info["models"]["semiseg"]["type"] == "segmentation"
    assert info["models"]["semiseg"]["labels"] == {"organ": 1, "lesion": 2}
    assert info["models"]["semiseg"]["config"]
    for ending in (".nrrd", ".nii.gz"):
        content = server.infer(
            place.ids[5], result_extension=ending, result_dtype="uint8", result_compress=False
        ).content
        label, corners = read(content, tmp_path / f"label{ending}")
        image, where = read((place.studies / f"{place.ids[5]}.nii.gz").read_bytes(), tmp_path / "image.nii.gz")
        assert label.dtype == np.uint8
        assert label.shape == image.shape
        assert set(np.unique(label)) <= {0, 1, 2}
        np.testing.assert_allclose(corners, where, atol=1e-3)
    answer = server.infer(place.ids[5], output="json").json()
    assert answer["label_names"] == {"organ": 1, "lesion": 2}
    assert answer["version"] == "0001"
    assert 0 < answer["latencies"]["network"] <= answer["latencies"]["total"]
    doubt, _ = read(server.infer(place.ids[5], uncertainty=True).content, tmp_path / "uncertainty.nrrd")
    assert doubt.shape == image.shape
    assert doubt.dtype == np.float32
    assert 0 <= doubt.min() < doubt.max() <= 1

    while server.get("/scoring/")["status"] in ("SUBMITTED", "RUNNING"):  # the training has started it
        time.sleep(0.3)
    assert server.get("/scoring/")["status"] == "DONE", server.get("/scoring/")["details"]
    chosen = server.post("/activelearning/uncertainty")
    assert chosen["id"] in place.ids[4:]
    assert chosen["rank"] == 1
    assert 0 < chosen["score"] <= 1
    assert chosen["version"] == "0001"
    assert chosen["reason"]
    assert Path(chosen["path"]) == place.studies / f"{chosen['id']}.nii.gz"

    dice = server.post("/scoring/dice", run_sync=True)
    assert set(dice["studies"]) == set(place.ids[:4])
    assert all(0 <= each["dice"]["organ"] <= 1 for each in dice["studies"].values())
    stored = server.get("/datastore/label/info", label=place.ids[0], tag="final")
    assert stored["dice"] == dice["studies"][place.ids[0]]
    assert stored["label_info"] == INFO


def test_what_is_not_there_is_named(server: Any, place: Place) -> None:
    assert "'nothing'" in detail(server.infer("nothing", status=404))
    assert "'/etc/passwd'" in detail(server.infer("/etc/passwd", status=404))
    assert "'other'" in detail(server.infer(place.ids[0], status=404, model="other"))
    assert "'luck'" in detail(server.post("/activelearning/luck", status=404))
    assert "'luck'" in detail(server.post("/scoring/luck", status=404, run_sync=True))
    assert "'other'" in detail(server.post("/train/other", status=404))
    assert "'nothing'" in detail(server.put_label("nothing", place.labels[place.ids[0]], INFO, status=404))


def test_requests_that_do_not_fit_are_explained(server: Any, place: Place) -> None:
    assert "'methode'" in detail(server.post("/train/semiseg", {"methode": "supervised"}, status=400))
    assert "iterations" in detail(server.post("/train/semiseg", {"iterations": "many"}, status=400))
    assert "result_extension" in detail(server.infer(place.ids[0], status=400, result_extension=".jpg"))
    body = {"data": b"{no json", "headers": {"Content-Type": "application/json"}}
    for broken in (
        requests.post(f"{server.url}/activelearning/random", **body, timeout=60),
        requests.post(
            f"{server.url}/infer/semiseg", params={"image": place.ids[0]}, data={"params": "{no json"}, timeout=60
        ),
    ):
        assert broken.status_code == 400
        assert "JSON" in detail(broken)


def test_bad_labels_are_refused_and_nothing_is_stored(server: Any, place: Place, tmp_path: Path) -> None:
    study = place.ids[6]
    label = nib.load(place.labels[study])
    values = np.asarray(label.dataobj)

    def stored(array: np.ndarray, affine: np.ndarray, name: str) -> Path:
        nib.save(nib.Nifti1Image(array.astype(np.uint8), affine), tmp_path / name)
        return tmp_path / name

    garbage = tmp_path / "garbage.nii.gz"
    garbage.write_bytes(b"no image at all")
    text = tmp_path / "label.pdf"
    text.write_bytes(b"%PDF")
    moved = label.affine + np.array([[0, 0, 0, 50]] * 3 + [[0] * 4])
    for file, word in {
        stored(np.stack([values, values], -1), label.affine, "shape.nii.gz"): "4",
        stored(values, moved, "moved.nii.gz"): "space",
        stored(values + 7, label.affine, "values.nii.gz"): "value",
        garbage: "read",
        text: ".pdf",
    }.items():
        sentence = detail(server.put_label(study, file, INFO, status=422))
        assert study in sentence
        assert word in sentence
    assert "final" not in server.get("/datastore/", output="all")["objects"][study]["labels"]
    assert not list((place.studies / "labels" / "final").glob(f"*{study}*"))


def test_next_says_when_all_is_labelled(server: Any, place: Place) -> None:
    for study in ("truncated", "flat"):
        (place.studies / f"{study}.nii.gz").unlink()
    for study in place.ids:
        server.put_label(study, place.labels[study], INFO)
    for strategy in ("uncertainty", "random"):
        answer = server.post(f"/activelearning/{strategy}")
        assert "id" not in answer
        assert "labelled" in detail(answer)
