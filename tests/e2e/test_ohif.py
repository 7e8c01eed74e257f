"""A reader in OHIF over a real Orthanc: open, run, correct, export, next sample, update the model; with real clicks.

``SEMISEG_PICTURES=docs/images/ohif`` keeps a screenshot of each step, for ``docs/how-to/ohif.md``.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion

from lib.dicom.phantom_series import uid, write_series
from tests.dicom.orthanc import Orthanc, orthanc
from tests.e2e.bright_studies import LABELS, bright_study, draw_label
from tests.e2e.ohif_page import Ohif, chromium

pytestmark = [pytest.mark.programs, pytest.mark.timeout(600)]

STUDIES, LABELLED = 6, 3
INFO = [{"name": "organ", "idx": 1}, {"name": "lesion", "idx": 2}]
TRAINING = {"method": "supervised", "iterations": 300, "learning_rate": 0.01, "ema": 0.9, "batch_labelled": 4}
CONF = {"size": "small", "patch": "16,16,16", "validation": 0, "workers": 0, "threads": 1, "score_minutes": 0.1}
PICTURES = os.environ.get("SEMISEG_PICTURES")


class Place:
    """A PACS with six studies, of which three are labelled, and the app over it with a model that knows them."""

    def __init__(self, folder: Path, pacs: Orthanc, start_server: Callable[..., Any]) -> None:
        self.folder, self.pacs = folder, pacs
        self.series = {}  # of each patient
        for seed in range(STUDIES):
            image, _, affine = bright_study(seed)
            name = f"bright_{seed}"
            day = f"202401{STUDIES - seed:02d}"  # OHIF lists the newest first
            pacs.upload(write_series(image, affine, folder / name, study=name, date=day))
            self.series[name] = str(uid("series", name, "1"))
        self.server = start_server(pacs.url, folder, model=folder / "model", **CONF, **TRAINING).wait_until_ready()
        for seed in range(LABELLED):
            series, image_file, label_file = (
                self.series[f"bright_{seed}"],
                folder / "image.nii.gz",
                folder / "label.nii.gz",
            )
            image_file.write_bytes(self.server.download(series))
            draw_label(seed, image_file, label_file)
            self.server.put_label(series, label_file, INFO)
        self.server.post("/train/semiseg", {})
        self.trained()

    def agreement(self, name: str) -> float:
        """Dice, over both classes, of the label that a training reads against the true one."""
        stored, image, true = (self.folder / file for file in ("stored.nii.gz", "image.nii.gz", "true.nii.gz"))
        query = {"label": self.series[name], "tag": "final"}
        stored.write_bytes(requests.get(f"{self.server.url}/datastore/label", query, timeout=60).content)
        image.write_bytes(self.server.download(self.series[name]))
        draw_label(int(name[-1]), image, true)
        found, truth = (sitk.GetArrayFromImage(sitk.ReadImage(str(file))) for file in (stored, true))
        values = {each["name"]: each["idx"] for each in self.server.get("/datastore/label/info", **query)["label_info"]}
        right = sum(((found == values[name]) & (truth == value)).sum() for name, value in LABELS.items())
        return float(2 * right / ((found > 0).sum() + (truth > 0).sum()))

    def trained(self) -> dict[str, Any]:
        """Wait for the training's end; the manifest of its run."""
        end = time.monotonic() + 200
        while (status := self.server.get("/train/")["status"]) in ("SUBMITTED", "RUNNING"):
            assert time.monotonic() < end, self.server.get("/info/")["train_stats"]
            time.sleep(0.3)
        assert status == "DONE", self.server.get("/train/")
        newest = max((self.folder / "model" / "runs").glob("*/manifest.json"), key=lambda file: file.stat().st_mtime)
        return json.loads(newest.read_text())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, start_server: Callable[..., Any]) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("ohif")
    with orthanc(folder / "orthanc") as pacs:
        yield Place(folder, pacs, start_server)


@pytest.fixture
def ohif(place: Place) -> Iterator[Ohif]:
    with chromium() as page:
        yield Ohif(page, place.server.url, Path(PICTURES) if PICTURES else None)


def test_a_reader_labels_and_trains_in_ohif(place: Place, ohif: Ohif) -> None:
    server = place.server
    assert ohif.study_list() == list(place.series)
    ohif.open_study("bright_5")  # stored from head to feet
    assert server.url in (ohif.page.locator("#monailabelServerURL").get_attribute("value") or "")
    ohif.connect()
    assert ohif.models() == ["semiseg"]
    assert ohif.strategies() == list(server.get("/info/")["strategies"])
    assert ohif.bars()["Annotated"] == f"{LABELLED}/{STUDIES} samples annotated"
    ohif.picture("connected")

    before = [ohif.viewport(0), ohif.viewport(1)]
    ohif.run()
    ohif.picture("run")
    lesion_seen = [check_overlay(ohif.viewport(place), empty) for place, empty in enumerate(before)]
    assert lesion_seen[0]

    ohif.export("corrected in OHIF")
    assert server.get("/info/")["datastore"]["completed"] == LABELLED + 1  # counted at once
    assert place.agreement("bright_5") > 0.9

    ohif.connect()
    answer = ohif.next_sample()
    waiting = {place.series[name] for name in ("bright_3", "bright_4")}
    assert answer["SeriesInstanceUID"] == answer["id"] in waiting
    assert answer["score"]  # by the strategy of the server, although OHIF can only ask for "random"
    assert ohif.page.url.endswith(f"StudyInstanceUIDs={answer['StudyInstanceUID']}")

    ohif.connect()
    assert ohif.bars()["Annotated"] == f"{LABELLED + 1}/{STUDIES} samples annotated"
    assert "result" in ohif.update_model()["semiseg"]
    seen = set()
    while server.get("/train/")["status"] in ("SUBMITTED", "RUNNING"):
        ohif.connect()
        seen.add(ohif.bars()["Training"])
        ohif.picture("training")
    manifest = place.trained()
    ohif.connect()
    assert ohif.bars()["Training"] == "Not Running"
    assert len({tip for tip in seen if "epochs completed" in tip}) > 1, seen  # it moved
    trained_on = set(manifest["cases"]["training"])
    assert trained_on == {place.series[f"bright_{seed}"] for seed in (0, 1, 2, 5)}
    assert manifest["skipped"] == {}
    assert (ohif.bugs, ohif.refused) == ([], [])


def check_overlay(shown: NDArray[np.int16], before: NDArray[np.int16]) -> bool:
    """The segmentation lies on the structure, each class in its own colour; returns whether this plane has a lesion.

    In the picture without it the structure is what is bright and grey: the organ white, the lesion half as bright.
    """
    grey = np.ptp(before, axis=2) < 12  # the texts are blue
    brightness = before.mean(axis=2)
    structure = grey & (brightness > 70)
    coloured = (np.ptp(shown, axis=2) > 25) & grey
    overlap = (structure & coloured).sum() / (structure | coloured).sum()
    assert structure.sum() > 1000
    assert overlap > 0.8, f"IoU of structure and overlay {overlap:.2f}"
    red_over_green = shown[..., 0] - shown[..., 1]  # the panel shows a lesion in green, an organ in orange
    organ, lesion = (binary_erosion(part, iterations=4) for part in (structure & (brightness > 230),
                                                                     structure & (brightness < 200)))  # fmt: skip
    assert np.median(red_over_green[organ]) > 0
    assert not lesion.any() or np.median(red_over_green[lesion]) < 0
    return bool(lesion.any())
