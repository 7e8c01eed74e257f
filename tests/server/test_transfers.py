"""Files and notes in and out, as the clients send them, and the answers they get."""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from lib.server.app import SemisegApp
from tests.server.whole_app import client, whole_app


@pytest.fixture
def drafts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where files lie while they are needed."""
    (tmp_path / "drafts").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "drafts"))
    return tmp_path / "drafts"


@pytest.fixture
def ask(
    app: SemisegApp, studies: Path, tmp_path: Path, publish: Callable[..., str], drafts: Path
) -> Iterator[TestClient]:
    publish()
    with whole_app(app, str(tmp_path), str(studies)) as served:
        yield client(served)


def index(ask: TestClient) -> dict:
    return ask.get("/datastore/", params={"output": "all"}).json()["objects"]


@pytest.mark.parametrize("path", ["/datastore/image", "/datastore/"])
def test_an_image_is_added_under_its_id_or_its_files_name(ask: TestClient, studies: Path, path: str) -> None:
    content = (studies / "phantom_004.nii.gz").read_bytes()
    for image, expected in (("new", "new"), ("", "scan.1")):
        params = {"image": image} if image else {}
        answer = ask.put(path, params=params, files={"file": ("scan.1.nii.gz", content)}, data={"params": '{"a": 1}'})
        assert answer.json() == {"image": expected}
        assert (studies / f"{expected}.nii.gz").read_bytes() == content
        assert index(ask)[expected]["image"]["info"]["a"] == 1


def test_notes_are_kept(ask: TestClient) -> None:
    ask.put("/datastore/image/info", params={"image": "phantom_004"}, data={"info": '{"quality": 3}'})
    ask.put("/datastore/label/info", params={"label": "phantom_000", "tag": "final"}, data={"info": '{"by": "a"}'})
    assert ask.get("/datastore/image/info", params={"image": "phantom_004"}).json()["quality"] == 3
    assert ask.get("/datastore/label/info", params={"label": "phantom_000", "tag": "final"}).json()["by"] == "a"


def test_a_check_sum_tells_whether_a_file_is_the_same(ask: TestClient, studies: Path) -> None:
    content = (studies / "phantom_004.nii.gz").read_bytes()
    sums = {name: hashlib.new(name, content).hexdigest() for name in ("sha256", "sha512", "md5")}
    expected = {
        "": 200, sums["sha256"]: 200, f"SHA512:{sums['sha512'].upper()}": 200, f"MD5:{sums['md5']}": 200,
        "0" * 64: 404, f"MD5:{sums['sha256']}": 404, "CRC32:1": 400,
    }  # fmt: skip
    for check_sum, status in expected.items():
        params = {"image": "phantom_004", "check_sum": check_sum}
        assert ask.head("/datastore/image", params=params).status_code == status
    assert ask.head("/datastore/image", params={"image": "nobody"}).status_code == 404


def test_the_archive_of_the_labelled_studies_is_not_left_behind(ask: TestClient, drafts: Path) -> None:
    answer = ask.get("/datastore/dataset", params={"limit_cases": 2})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        kinds = sorted(name.partition("/")[0] for name in archive.namelist())
    assert kinds == ["image", "image", "label", "label", "metadata.json"]
    assert list(drafts.iterdir()) == []


def test_a_file_that_is_sent_along_is_segmented_and_nothing_stays_of_it(
    ask: TestClient, studies: Path, drafts: Path
) -> None:
    content = (studies / "phantom_004.nii.gz").read_bytes()
    sent = ask.post("/infer/semiseg", files={"file": ("scan.nii.gz", content)}, params={"output": "image"})
    study = ask.post("/infer/semiseg", params={"image": "phantom_004", "output": "image"})
    assert sent.status_code == study.status_code == 200
    assert sent.content == study.content
    assert list(drafts.iterdir()) == []


def test_what_there_is_to_segment_must_be_said(ask: TestClient) -> None:
    assert ask.post("/infer/semiseg").status_code == 400
    assert ask.post("/infer/semiseg", params={"image": "phantom_004", "output": "dicom_seg"}).status_code == 400
    for params in ({"label_tag": 7}, {"client_id": []}):
        answer = ask.post("/infer/semiseg", params={"image": "phantom_004"}, data={"params": json.dumps(params)})
        assert (answer.status_code, "is not text" in answer.json()["detail"]) == (400, True)


def test_params_do_not_name_another_image(ask: TestClient, studies: Path) -> None:
    params = json.dumps({"image": str(studies / "phantom_001.nii.gz"), "model": "other"})
    asked = {"image": "phantom_004", "output": "image"}
    answer = ask.post("/infer/semiseg", params=asked, data={"params": params})
    assert answer.content == ask.post("/infer/semiseg", params=asked).content
