"""A reader in 3D Slicer, over a folder and over a real Orthanc: the module's calls in their order.

The first test labels and trains; the others go on with its model.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from lib.dicom.phantom_series import uid, write_series
from tests.dicom.orthanc import orthanc
from tests.e2e.bright_studies import bright_study, draw_label, write_bright_study
from tests.e2e.slicer_client import Slicer

STUDIES = 5
NAMES = ["organ", "lesion"]
TRAINING = {"method": "supervised", "learning_rate": 0.01, "ema": 0.9, "batch_labelled": 4}
CONF = {"iterations": 150, "size": "small", "patch": "16,16,16", "validation": 0, "workers": 0, "threads": 1} | TRAINING
LONG = {"epochs": 10_000, "seed": 1}


class Place:
    """Studies without labels on a server, and what an annotator would draw: label and grid of each."""

    def __init__(self, folder: Path, kind: str, ids: dict[str, int], server: Any) -> None:
        self.folder, self.kind, self.seeds, self.server = folder, kind, ids, server
        self.downloads = folder / "downloads"
        self.downloads.mkdir()

    def draw(self, study: str, image: Path) -> Path:
        """The label of a study on the grid of its image."""
        file = self.downloads / f"label_{study}.nii.gz"
        draw_label(self.seeds[study], image, file)
        return file

    def agreement(self, study: str, image: Path, segmentation: Path) -> float:
        """Dice of the organ against what an annotator would draw."""
        found, truth = (sitk.ReadImage(str(file)) for file in (segmentation, self.draw(study, image)))
        np.testing.assert_allclose(found.GetOrigin(), truth.GetOrigin(), atol=1e-3)
        np.testing.assert_allclose(found.GetDirection(), truth.GetDirection(), atol=1e-4)
        a, b = (sitk.GetArrayFromImage(each) == 1 for each in (found, truth))
        return float(2 * (a & b).sum() / (a.sum() + b.sum()))


@pytest.fixture(scope="module", params=["folder", pytest.param("orthanc", marks=pytest.mark.programs)])
def place(request: Any, tmp_path_factory: pytest.TempPathFactory, start_server: Callable[..., Any]) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("slicer")
    conf = CONF | {"model": folder / "model", "score_minutes": 0.1}
    if request.param == "folder":
        seeds = {f"bright_{seed}": seed for seed in range(STUDIES)}
        (folder / "studies").mkdir()
        for name, seed in seeds.items():
            write_bright_study(seed, folder / "studies" / f"{name}.nii.gz")
        server = start_server(folder / "studies", folder, **conf).wait_until_ready()
        yield Place(folder, request.param, seeds, server)
        return
    with orthanc(folder / "orthanc", user="reader", password="secret") as pacs:
        for seed in range(STUDIES):
            image, _, affine = bright_study(seed)
            pacs.upload(write_series(image, affine, folder / f"dicom_{seed}", study=f"bright_{seed}"))
        seeds = {str(uid("series", f"bright_{seed}", "1")): seed for seed in range(STUDIES)}
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("MONAI_LABEL_DICOMWEB_USERNAME", "reader")
            environment.setenv("MONAI_LABEL_DICOMWEB_PASSWORD", "secret")
            server = start_server(pacs.url, folder, **conf).wait_until_ready()
        yield Place(folder, request.param, seeds, server)


@pytest.mark.timeout(400)
def test_a_reader_labels_and_trains_in_slicer(place: Place, tmp_path: Path) -> None:
    slicer = Slicer(place.server.url, place.downloads)
    assert not slicer.connect()
    assert slicer.info["models"] == {}
    assert slicer.info["datastore"]["total"] == STUDIES

    labelled = []
    for _ in range(3):
        sample, image = slicer.next_sample(next(iter(slicer.info["strategies"])))
        assert sample["id"] not in labelled
        labelled.append(sample["id"])
        info = slicer.submit(sample["id"], place.draw(sample["id"], image), NAMES)
        assert info["datastore"]["completed"] == len(labelled)
    assert slicer.info["labels"] == NAMES
    image = slicer.download(labelled[0])
    assert nib.load(image).shape == bright_study(0)[0].shape

    assert slicer.train("semiseg", tracking="mlflow")["status"] in ("SUBMITTED", "RUNNING")
    assert slicer.connect()  # another reader's Slicer sees that a training runs
    status, seen = slicer.watch()
    assert status == "DONE"
    assert len({stats["epoch"] for stats in seen}) > 2
    assert all(("total_time" in stats) == (stats["stage"] == "ended") for stats in seen)
    manifest = json.loads(next((place.folder / "model" / "runs").glob("*/manifest.json")).read_text())
    assert set(manifest["cases"]["training"]) == set(labelled)
    assert manifest["config"]["tracking"] == "mlflow"

    sample, image = slicer.next_sample("uncertainty")
    assert sample["id"] not in labelled
    segmentation, about = slicer.segment("semiseg", sample["id"])
    assert about["label_names"] == {"organ": 1, "lesion": 2}
    assert place.agreement(sample["id"], image, segmentation) > 0.9


@pytest.mark.timeout(400)
def test_a_local_volume_is_segmented_in_a_session_and_may_become_a_study(place: Place, tmp_path: Path) -> None:
    slicer = Slicer(place.server.url, tmp_path)
    slicer.connect()
    label = bright_study(78)[1]
    write_bright_study(78, tmp_path / "local.nii.gz")
    draw_label(78, tmp_path / "local.nii.gz", tmp_path / "label.nii.gz")
    session = slicer.open_local(tmp_path / "local.nii.gz")
    segmentation, _ = slicer.segment("semiseg", session=session)
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(segmentation))).T
    assert ((found > 0) & (label > 0)).sum() > 0.9 * (label > 0).sum()

    answer = slicer.upload(tmp_path / "local.nii.gz", "local")
    if place.kind == "orthanc":  # a DICOM server takes DICOM objects only
        assert 400 <= answer.status_code < 500
        assert "DICOM" in answer.json()["detail"]
        return
    before = slicer.info["datastore"]["completed"]
    info = slicer.submit("local", tmp_path / "label.nii.gz", NAMES)
    assert info["datastore"]["completed"] == before + 1


@pytest.mark.timeout(400)
def test_a_training_is_stopped_and_says_so(place: Place) -> None:
    slicer = Slicer(place.server.url, place.downloads)
    slicer.connect()
    slicer.train("semiseg", **LONG)
    assert slicer.connect()
    while slicer.fetch_info()["train_stats"]["semiseg"]["stage"] != "training":
        time.sleep(0.2)
    assert slicer.stop() == "STOPPING"  # it saves and validates first
    while "total_time" not in (stats := slicer.fetch_info()["train_stats"]["semiseg"]):
        time.sleep(0.2)
    assert stats["status"] == "stopped"
    while slicer.connect():  # the process ends a moment later
        time.sleep(0.2)
