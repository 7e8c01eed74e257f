"""``labels``: what was kept of each study, and an earlier label that counts again, also on a DICOM server."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lib.command_line import main
from lib.config import Config
from lib.dicom.web import DicomWeb
from lib.server.datastore import FolderDatastore
from lib.server.dicom_datastore import DicomDatastore
from lib.training.model_folder import ModelFolder
from tests.dicom.conftest import AFFINE, SHAPE, Uploaded, no_pause, orthanc_server, server, upload, web  # noqa: F401  a real Orthanc

INFO = {"label_info": [{"name": "organ", "idx": 1}, {"name": "lesion", "idx": 2}]}


def voxels(file: str) -> np.ndarray:
    return np.asanyarray(nib.load(file).dataobj)


def submit(datastore: FolderDatastore | DicomDatastore, study: str, file: Path, array: np.ndarray, who: str) -> None:
    affine = nib.load(datastore.get_image_uri(study)).affine
    nib.save(nib.Nifti1Image(array, affine), file)
    datastore.save_label(study, str(file), "final", INFO | {"client_id": who})


def test_labels_are_listed_and_restored(studies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    datastore = FolderDatastore(str(studies), Config())
    wanted = voxels(datastore.get_label_uri("phantom_001", "final"))
    submit(datastore, "phantom_001", tmp_path / "a.nii.gz", wanted, "anna")
    submit(datastore, "phantom_001", tmp_path / "b.nii.gz", wanted * 0, "bert")
    command = ["labels", "--studies", str(studies)]
    assert main(command) == 0
    assert capsys.readouterr().out.split() == ["phantom_001", "3", "kept"]
    assert main([*command, "--study", "phantom_001"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert {line[4] for line in lines} == {"unknown", "anna", "bert"}
    (now,) = [line for line in lines if line[-2:] == ["counts", "now"]]
    assert now[4] == "bert"
    (stamp,) = [line[0] for line in lines if line[4] == "anna"]
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"study": "phantom_001", "kept": 3}]
    assert main([*command, "--study", "phantom_001", "--json"]) == 0
    listed = {each["who"]: each for each in json.loads(capsys.readouterr().out)}
    assert {who: each["counts"] for who, each in listed.items()} == {"unknown": False, "anna": False, "bert": True}
    assert listed["anna"]["name"] == stamp
    assert datetime.fromisoformat(listed["anna"]["time"]).utcoffset() == timedelta(0)
    assert main([*command, "--study", "phantom_001", "--restore", stamp]) == 0
    assert "by anna counts again" in capsys.readouterr().out
    assert (voxels(datastore.get_label_uri("phantom_001", "final")) == wanted).all()
    fresh = FolderDatastore(str(studies), Config())
    assert fresh.get_label_info("phantom_001", "final")["client_id"] == "anna"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--restore", "x"], "--restore needs --study"),
        (["--study", "phantom_000"], "No final label of study 'phantom_000' was kept"),
        (["--study", "phantom_000", "--restore", "x"], "no kept final label 'x'"),
    ],
)
def test_what_cannot_be_is_said(studies: Path, capsys: pytest.CaptureFixture[str], more: list[str], words: str) -> None:
    assert main(["labels", "--studies", str(studies), *more]) == 2
    assert words in capsys.readouterr().err


def test_a_label_of_a_dicom_server_is_stored_there_again(
    web: DicomWeb,  # noqa: F811
    upload: Callable[..., Uploaded],  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    series = upload("one")
    model = ModelFolder(tmp_path / "model")
    store = DicomDatastore(web, Config(), model.mirror)
    drawn = np.zeros(SHAPE, dtype=np.uint8)
    drawn[1:4, 2:7, 3] = 1
    submit(store, series.uid, tmp_path / "a.nii.gz", drawn, "anna")
    submit(store, series.uid, tmp_path / "b.nii.gz", drawn * 2, "bert")
    command = ["labels", "--studies", web.url, "--model", str(model.path), "--study", series.uid]
    assert main(command) == 0
    first = capsys.readouterr().out.splitlines()[0].split()
    assert first[4] == "anna"
    assert main([*command, "--restore", first[0]]) == 0
    fresh = DicomDatastore(web, Config(), tmp_path / "elsewhere")
    fresh.refresh()
    assert np.allclose(nib.load(fresh.get_label_uri(series.uid, "final")).affine, AFFINE)
    assert (voxels(fresh.get_label_uri(series.uid, "final")) == drawn).all()
    assert store.get_label_info(series.uid, "final")["client_id"] == "anna"
