"""Both clients at a server with users: 3D Slicer's calls and MONAI Label's own client, and OHIF in a browser."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from monailabel.client import MONAILabelClient

from lib.dicom.phantom_series import uid, write_series
from tests.dicom.orthanc import orthanc
from tests.e2e.bright_studies import bright_study, draw_label, write_bright_study
from tests.e2e.ohif_page import Ohif, chromium
from tests.e2e.slicer_client import Slicer
from tests.e2e.users import log_in, word, write_users

NAMES = ["organ", "lesion"]
CONF = {
    "method": "supervised", "iterations": 20, "size": "small", "patch": "16,16,16", "validation": 0, "workers": 0,
    "threads": 1, "score_minutes": 0.1,
}  # fmt: skip
PATIENT = "wilhelmine"  # PatientName and PatientID of a phantom


class Place:
    """Three studies on a server with users, and what an annotator would draw."""

    def __init__(self, folder: Path, server: Any) -> None:
        self.folder, self.server = folder, server

    def draw(self, study: str, image: Path) -> Path:
        file = self.folder / f"label_{study}.nii.gz"
        draw_label(int(study[-1]), image, file)
        return file


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, start_server: Callable[..., Any]) -> Place:
    folder = tmp_path_factory.mktemp("access")
    (folder / "studies").mkdir()
    for seed in range(3):
        write_bright_study(seed, folder / "studies" / f"bright_{seed}.nii.gz")
    conf = CONF | {"model": folder / "model", "users": write_users(folder / "users")}
    return Place(folder, start_server(folder / "studies", folder, **conf).wait_until_ready())


def audit(folder: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (folder / "model" / "audit.jsonl").read_text().splitlines()]


@pytest.mark.timeout(300)
def test_readers_and_an_admin_work_in_slicer(place: Place, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="wants a login"):
        Slicer(place.server.url, tmp_path).connect()
    with pytest.raises(AssertionError, match="401"):
        Slicer(place.server.url, tmp_path, ("ann", "wrong word")).connect()
    ann, boss = (Slicer(place.server.url, tmp_path, (name, word(name))) for name in ("ann", "boss"))
    assert not ann.connect()
    sample, image = ann.next_sample("random")
    info = ann.submit(sample["id"], place.draw(sample["id"], image), NAMES)
    assert info["datastore"]["completed"] == 1
    with pytest.raises(AssertionError, match=r"403 .*for the role admin"):
        ann.train("semiseg")
    boss.connect()
    boss.train("semiseg")
    assert boss.watch()[0] == "DONE"
    ann.fetch_info()
    segmentation, _ = ann.segment("semiseg", sample["id"])
    assert segmentation.stat().st_size
    place.server.log_in("boss", word("boss"))
    while place.server.get("/scoring/")["status"] in ("SUBMITTED", "RUNNING"):  # the training's process could log in
        time.sleep(0.2)
    told = [(entry["what"], entry["who"]) for entry in audit(place.folder)]
    assert ("login failed", "ann") in told
    work = [entry for entry in told if entry[0] not in ("login", "login failed", "server started")]
    assert work == [("label submitted", "ann"), ("training started", "boss"), ("scoring started", "server")]


def test_monai_labels_own_client_works(place: Place, tmp_path: Path) -> None:
    """It sends the length of its last body with the next request that has none."""
    client = MONAILabelClient(place.server.url, str(tmp_path), "someone")
    assert client.auth_enabled()
    assert not client.auth_valid_token()
    client.update_auth(client.auth_token("ann", word("ann")))
    for _ in range(2):
        assert client.auth_valid_token()
        assert client.info()["name"] == "semiseg"
        study = client.next_sample("random", {})["id"]
    leases = requests.get(f"{place.server.url}/worklist/", headers=bearer(client), timeout=60).json()
    assert (study, "ann") in [(lease["study"], lease["client"]) for lease in leases]


def bearer(client: MONAILabelClient) -> dict[str, str]:
    return {"Authorization": client._headers["Authorization"]}


@pytest.mark.programs
@pytest.mark.timeout(400)
def test_a_reader_logs_in_and_works_in_ohif_and_no_patient_is_named_in_the_log(
    tmp_path: Path, start_server: Callable[..., Any]
) -> None:
    with orthanc(tmp_path / "orthanc") as pacs, chromium() as page:
        image, _, affine = bright_study(0)
        pacs.upload(write_series(image, affine, tmp_path / "dicom", study=PATIENT))
        conf = CONF | {"model": tmp_path / "model", "users": write_users(tmp_path / "users")}
        server = start_server(pacs.url, tmp_path, **conf).wait_until_ready()
        logged = Ohif(page, server.url)
        page.goto(f"{server.url}/ohif/")
        log_in(page, "ann", "wrong word")
        assert "wrong" in page.get_by_role("alert").inner_text()
        log_in(page, "ann")
        page.wait_for_url(f"{server.url}/ohif/")
        logged.refused.clear()  # the wrong word
        assert logged.study_list() == [PATIENT]
        logged.open_study(PATIENT)
        logged.connect()
        answer = logged.next_sample()
        assert answer["SeriesInstanceUID"] == str(uid("series", PATIENT, "1"))
        search = {"PatientID": PATIENT}
        cookies = {cookie["name"]: cookie["value"] for cookie in page.context.cookies()}
        found = requests.get(f"{server.url}/proxy/dicom/qido/studies", search, cookies=cookies, timeout=60)
        assert len(found.json()) == 1
        pacs.stop()
        search |= {"PatientName": f"{PATIENT}*"}
        failed = requests.get(f"{server.url}/proxy/dicom/qido/studies", search, cookies=cookies, timeout=60)
        assert failed.status_code == 503
        page.goto(f"{server.url}/auth/login")
        page.get_by_role("button", name="Log out").click()
        page.get_by_label("Password").wait_for()
        page.goto(f"{server.url}/ohif/")
        page.get_by_label("Password").wait_for()
        assert (logged.bugs, logged.refused) == ([], [])
        log = server.log.read_text()
        assert "/proxy/dicom/qido/studies" in log
        assert PATIENT not in (log + (tmp_path / "model" / "audit.jsonl").read_text()).lower()
