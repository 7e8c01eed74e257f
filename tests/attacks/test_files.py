"""Files that are not what they say: bombs, false headers, links, archives, models that would run."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import uuid
import zipfile
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nibabel as nib
import numpy as np
import pytest
import torch
from fastapi import FastAPI
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, generate_uid
from starlette.testclient import TestClient

from lib.dicom import bounded
from lib.dicom.series import read_series
from lib.errors import SemisegError, StudyError
from lib.inference.model_file import Model
from lib.server.app import SemisegApp
from tests.attacks.conftest import SECRET
from tests.studies.test_bounds import HUGE, nifti, nrrd_file

PUTS = [("/datastore/image?image=new", "file"), ("/datastore/label?image=phantom_004", "label")]


class Runs:
    """Would write a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.file}",)


@pytest.mark.parametrize(("path", "field"), PUTS)
def test_a_bomb_or_a_false_header_is_refused_before_it_is_unpacked(
    ask: TestClient, tmp_path: Path, path: str, field: str
) -> None:
    zeros = gzip.compress(bytes(1 << 20)) * 100
    files = [
        nifti(tmp_path / "a.nii.gz", HUGE),
        nifti(tmp_path / "b.nii", HUGE),
        nifti(tmp_path / "c.nii", vox_offset=2**31),
        nrrd_file(tmp_path / "d.nrrd", "gzip", zeros, "10000 10000 10000"),
        nrrd_file(tmp_path / "e.nrrd", "gzip", zeros, "1000 1000 1000"),
    ]
    for file in files:
        answer = ask.put(path, files={field: (file.name, file.read_bytes())})
        assert answer.status_code == 422
        assert "Study" in answer.json()["detail"]


@pytest.mark.parametrize(("path", "field"), PUTS)
@pytest.mark.parametrize("name", ["a.pdf", "a", "a.nii.gz.exe", "a.pt", "a.dcm", ".nii.gz", "a.svg", "a.html", "a.zip"])
def test_only_known_endings_are_taken(ask: TestClient, path: str, field: str, name: str) -> None:
    answer = ask.put(path, files={field: (name, b"x")})
    assert answer.status_code == 422


def test_archives_are_not_unpacked(ask: TestClient, tmp_path: Path, touched: list[str]) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("../../outside/secret", "overwritten")
        link = zipfile.ZipInfo("image.nii.gz")
        link.external_attr = 0o120777 << 16  # a symbolic link
        archive.writestr(link, str(tmp_path / "outside" / "secret"))
    for name in ("a.zip", "a.nii.gz", "a.tar"):
        upload = {"files": (name, packed.getvalue())}
        assert ask.put("/session/", params={"uncompress": True}, files=upload).status_code == 400
    assert touched == []


def test_a_session_is_one_image_by_an_id_that_the_server_made(ask: TestClient, studies: Path, outside: Path) -> None:
    image = (studies / "phantom_004.nii.gz").read_bytes()
    made = ask.put("/session/", files={"files": ("scan.nii.gz", image)}).json()
    key = made["session_id"]
    assert str(uuid.UUID(key)) == key
    assert str(studies.parent) not in str(made)
    assert ask.get(f"/session/{key}", params={"image": True}).content == image
    assert ask.post("/infer/semiseg", params={"session_id": key, "output": "json"}).status_code == 200
    for other in (str(outside), f"{key}/..", f"../{key}", key.upper(), f"{key}\0", ""):
        assert ask.post("/infer/semiseg", params={"session_id": other or "x"}).status_code == 404
        assert ask.delete(f"/session/{quote(other or 'x', safe='')}").status_code == 404
    assert ask.delete(f"/session/{key}").status_code == 200
    assert ask.get(f"/session/{key}").status_code == 404
    two = [("files", ("a.nii.gz", b"x")), ("files", ("b.nii.gz", b"x"))]
    assert ask.put("/session/", files=two).status_code == 400


def test_sessions_cannot_fill_the_disk(ask: TestClient, app: SemisegApp) -> None:
    app.config = app.config.replace(upload_gb=0.001)
    for _ in range(12):
        answer = ask.put("/session/", files={"files": ("a.nii.gz", bytes(900_000))})
    assert answer.status_code == 503


def test_a_link_is_never_written_through(ask: TestClient, app: SemisegApp, studies: Path, outside: Path) -> None:
    image = (studies / "phantom_004.nii.gz").read_bytes()
    victim = outside / "victim.nii.gz"
    victim.write_bytes(image)
    (studies / "linked.nii.gz").symlink_to(victim)
    (studies / "labels" / "final" / "phantom_004.nii.gz").symlink_to(victim)
    app.datastore().refresh()
    label = (studies / "labels" / "final" / "phantom_000.nii.gz").read_bytes()
    ask.put("/datastore/image?image=linked", files={"file": ("a.nii.gz", image[:-1] + b"\0")})
    ask.put("/datastore/image?image=linked", files={"file": ("a.nii.gz", nib_of(np.zeros((9, 9, 9))))})
    ask.put("/datastore/label?image=phantom_004", files={"label": ("a.nii.gz", label)})
    ask.delete("/datastore/label", params={"id": "phantom_004", "tag": "final"})
    ask.delete("/datastore/image", params={"id": "linked"})
    assert victim.read_bytes() == image


def nib_of(values: Any) -> bytes:
    return gzip.compress(nib.Nifti1Image(values.astype(np.uint8), np.eye(4)).to_bytes())


def test_a_link_that_an_administrator_made_is_read(
    ask: TestClient, app: SemisegApp, studies: Path, tmp_path: Path
) -> None:
    elsewhere = (studies / "phantom_004.nii.gz").rename(tmp_path / "scan.nii.gz")
    (studies / "phantom_004.nii.gz").symlink_to(elsewhere)
    app.datastore().refresh()
    assert ask.get("/datastore/image", params={"image": "phantom_004"}).content == elsewhere.read_bytes()


def test_a_model_cannot_be_uploaded_unless_it_is_allowed_nor_deleted(
    ask: TestClient, app: SemisegApp, tmp_path: Path
) -> None:
    live = app.folder.path / "live.pt"
    before = live.read_bytes()
    for content in (b"", before, pickle.dumps(Runs(tmp_path / "ran")), bytes(3 << 20)):
        answer = ask.put("/model/semiseg", files={"file": ("live.pt", content)})
        assert (answer.status_code, "trainings" in answer.json()["detail"]) == (409, True)
    assert ask.delete("/model/semiseg").status_code == 409
    assert live.read_bytes() == before


@pytest.fixture
def uploads_allowed(app: SemisegApp) -> None:
    app.config = app.config.replace(model_uploads=True)


def test_where_models_may_be_uploaded_they_are_read_without_running_code(
    uploads_allowed: None, ask: TestClient, app: SemisegApp, tmp_path: Path
) -> None:
    live, before = app.folder.path / "live.pt", app.folder.versions()
    for content in (b"", pickle.dumps(Runs(tmp_path / "ran")), live.read_bytes()[:-999]):
        answer = ask.put("/model/semiseg", files={"file": ("live.pt", content)})
        assert (answer.status_code, "no model" in answer.json()["detail"]) == (400, True)
    assert ask.put("/model/semiseg").status_code == 400
    assert ask.put("/model/other", files={"file": ("live.pt", live.read_bytes())}).status_code == 404
    assert (app.folder.versions(), (tmp_path / "ran").exists()) == (before, False)
    sent = Model.load(live)
    with app.folder.lock("training"):
        assert ask.put("/model/semiseg", files={"file": ("live.pt", live.read_bytes())}).status_code == 409
    answer = ask.put("/model/semiseg", files={"file": ("../../live.pt", live.read_bytes())})
    published = Model.load(live)
    assert answer.json() == {"version": published.version}
    assert published.version not in before
    assert published.weights.keys() == sent.weights.keys()
    assert all(published.weights[name].equal(value) for name, value in sent.weights.items())


@pytest.mark.parametrize("save", [torch.save, lambda value, file: Path(file).write_bytes(pickle.dumps(value))])
def test_a_model_file_that_holds_code_is_refused_and_does_not_run(
    ask: TestClient, app: SemisegApp, tmp_path: Path, save: Any
) -> None:
    live = app.folder.path / "live.pt"
    live.unlink()
    save({"method": Runs(tmp_path / "ran")}, live)
    with pytest.raises(SemisegError):
        Model.load(live)
    answer = ask.post("/infer/semiseg", params={"image": "phantom_004"})
    assert answer.status_code >= 400
    assert "live.pt" in answer.json()["detail"]
    assert not (tmp_path / "ran").exists()


def test_a_training_is_given_no_place_to_import_from(
    served: FastAPI, ask: TestClient, outside: Path, tmp_path: Path
) -> None:
    """MONAI Label adds ``bundle_path`` to the PYTHONPATH of the process it starts, where sitecustomize.py would run."""
    asked: list[dict] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "monailabel.utils.async_tasks.task.run_background_task", lambda request, _: asked.append(request) or {}
        )
        poison = {"bundle_path": str(outside), "run_id": "x", "name": str(outside), "model": "other", "local_rank": 1}
        assert ask.post("/train/semiseg", json=poison).status_code == 200
        assert (
            ask.post("/batch/infer/semiseg", json=poison | {"images": [str(outside)], "label_tag": "a"}).status_code
            == 200
        )
        assert ask.post("/scoring/dice", json=poison | {"method": "other"}).status_code == 200
        for gpus in ("0; touch x", "../", ["0"], {"a": 1}, "0\0"):
            assert ask.post("/train/semiseg", json={"gpus": gpus}).status_code == 400
        long = {"tracking": "none", "client_id": "x" * 100_000}
        assert ask.post("/train/semiseg", json=long).status_code == 400
    assert [request.get("model") for request in asked] == ["semiseg", "semiseg", None]
    assert str(outside) not in str(asked)


def test_the_routes_that_open_any_path_are_shut(ask: TestClient, outside: Path, touched: list[str]) -> None:
    for path in ("/infer/wsi/semiseg", "/infer/wsi_v2/semiseg"):
        answer = ask.post(path, params={"image": str(outside / "secret")}, json={"params": {}})
        assert answer.status_code == 404
    assert ask.post("/reload").status_code == 404
    assert SECRET not in ask.get("/logs/").content
    assert ask.get("/logs/", params={"lines": -1}).status_code == 400
    assert touched == []


def dicom(file: Path, syntax: str = ExplicitVRLittleEndian, **attributes: Any) -> Path:
    """An image of two by two pixels, with these attributes."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", generate_uid()
    dataset.Modality, dataset.SeriesInstanceUID, dataset.Rows, dataset.Columns = "MR", "1.2.3", 2, 2
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation, dataset.SamplesPerPixel = 15, 0, 1
    dataset.PhotometricInterpretation, dataset.PixelData = "MONOCHROME2", bytes(8)
    for key, value in attributes.items():
        setattr(dataset, key, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.is_little_endian, dataset.is_implicit_VR = True, False
    dataset.save_as(file, write_like_original=False)
    return file


def test_a_deflated_dicom_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = dicom(tmp_path / "a.dcm", DeflatedExplicitVRLittleEndian, PixelData=bytes(1 << 22))
    assert len(bounded.read_file(file).PixelData) == 1 << 22
    monkeypatch.setattr(bounded, "MOST_INFLATED", 1 << 20)
    inflated = []
    monkeypatch.setattr(zlib, "decompress", lambda *_: inflated.append(1))
    with pytest.raises(StudyError, match="cannot be read as DICOM"):
        read_series([file])
    assert inflated == []


@pytest.mark.parametrize("attributes", [{"NumberOfFrames": 2**31 - 1}, {"Rows": 65535, "Columns": 65535}])
def test_a_dicom_object_that_says_a_terabyte_is_refused(tmp_path: Path, attributes: dict[str, int]) -> None:
    from lib.dicom.pixels import stored_values

    file = dicom(tmp_path / "a.dcm", **attributes)
    with pytest.raises(StudyError):
        read_series([file])
    with pytest.raises(StudyError, match="says that it holds"):
        stored_values("1.2.3", bounded.read_file(file))


def test_a_compressed_frame_is_unpacked_to_the_size_of_its_header_only() -> None:
    from imagecodecs import jpeg2k_encode, jpeg8_encode, jpegls_encode

    values = np.arange(70, dtype=np.uint8).reshape(7, 10)
    for encode in (jpeg8_encode, jpegls_encode, jpeg2k_encode):
        stream = bytes(encode(values))
        bounded.check_stream(stream, 7, 10)
        with pytest.raises(ValueError, match="rows and columns"):
            bounded.check_stream(stream, 7, 11)
    with pytest.raises(ValueError, match="rows and columns"):
        bounded.check_stream(b"\xff\xd8\xff\xff\xff\xd9", 7, 10)
