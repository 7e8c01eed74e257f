"""MONAI Label's datastore over a real Orthanc: what its clients ask, and what must not be lost."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from monailabel.config import settings
from numpy.typing import NDArray
from pydicom import Dataset

from lib.config import Config
from lib.dicom.web import DicomWeb
from lib.errors import DicomServerError, NotFoundError, NotReadyError, StudyError
from lib.server.app import SemisegApp
from lib.server.cases import cases_of, labelled_cases, worklist
from lib.server.dicom_datastore import DicomDatastore
from lib.studies.labels import LabelMap, label_map, read_label
from tests.dicom.conftest import AFFINE, SHAPE, Uploaded
from tests.dicom.orthanc import Orthanc

Upload, Label = Callable[..., Uploaded], Callable[..., Dataset]
INFO = {"label_info": [{"name": "organ", "idx": 1}, {"name": "lesion", "idx": 2}], "client_id": "reader"}
WANTED = np.zeros(SHAPE, dtype=np.uint8)
WANTED[1:4, 2:7, 3], WANTED[5, 1, 4:6] = 1, 2


@pytest.fixture
def store(web: DicomWeb, tmp_path: Path) -> DicomDatastore:
    return DicomDatastore(web, Config(), tmp_path / "mirror", watch=True)


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    """A submitted label."""
    return write(tmp_path / "drawn.nii.gz", WANTED)


def write(file: Path, array: NDArray, affine: NDArray = AFFINE) -> Path:
    nib.save(nib.Nifti1Image(array, affine), file)
    return file


def voxels(file: str | Path) -> NDArray:
    return np.asanyarray(nib.load(file).dataobj)


def test_it_lists_what_is_there_and_what_is_labelled(store: DicomDatastore, upload: Upload, label: Label) -> None:
    one, two = upload("one"), upload("two", modality="MR")
    label(one)
    assert set(store.list_images()) == {one.uid, two.uid}
    assert store.get_labeled_images() == [one.uid]
    assert store.get_unlabeled_images() == [two.uid]
    status = store.status()
    assert (status["total"], status["completed"], status["label_tags"]) == (2, 1, {"final": 1})
    assert (status["trouble"], status["refused"], status["waiting_to_be_stored"]) == ("", 0, 0)


def test_viewers_are_told_what_they_need_to_open_a_study(store: DicomDatastore, upload: Upload) -> None:
    series = upload("one", patient="P7", date="20240305", time="101112")
    store.refresh()
    info = store.get_image_info(series.uid)
    assert (info["SeriesInstanceUID"], info["StudyInstanceUID"]) == (series.uid, series.study)
    assert (info["Modality"], info["StudyDate"], info["StudyTime"], info["PatientID"]) == (
        "CT",
        "20240305",
        "101112",
        "P7",
    )
    assert info["RetrieveURL"].endswith(f"/studies/{series.study}/series/{series.uid}")
    store.update_image_info(series.uid, {"strategy": {"random": {"ts": 1}}})
    assert store.get_image_info(series.uid)["strategy"] == {"random": {"ts": 1}}
    assert store.get_image_info("1.2.3") == {}


def test_a_submitted_label_counts_at_once_and_lies_on_the_server(
    store: DicomDatastore, upload: Upload, drawn: Path, web: DicomWeb, tmp_path: Path
) -> None:
    series = upload("one")
    assert store.save_label(series.uid, str(drawn), "final", INFO) == series.uid
    assert store.get_unlabeled_images() == []
    assert store.get_label_by_image_id(series.uid, "final") == series.uid
    assert store.get_label_info(series.uid, "final")["label_info"] == INFO["label_info"]
    assert (voxels(store.get_label_uri(series.uid, "final")) == WANTED).all()
    fresh = DicomDatastore(web, Config(), tmp_path / "fresh")
    assert fresh.get_labeled_images() == [series.uid]
    assert (voxels(fresh.get_label_uri(series.uid, "final")) == WANTED).all()
    assert np.allclose(nib.load(fresh.get_label_uri(series.uid, "final")).affine, AFFINE, atol=1e-4)


def test_an_empty_label_is_a_label(store: DicomDatastore, upload: Upload, tmp_path: Path) -> None:
    series = upload("one")
    store.save_label(series.uid, str(write(tmp_path / "empty.nii.gz", WANTED * 0)), "final", INFO)
    assert store.get_labeled_images() == [series.uid]
    assert not voxels(store.get_label_uri(series.uid, "final")).any()


def test_classes_keep_the_values_of_the_settings(web: DicomWeb, upload: Upload, drawn: Path, tmp_path: Path) -> None:
    config = Config(labels=("lesion=7", "organ=3"))
    store = DicomDatastore(web, config, tmp_path / "mirror")
    series = upload("one")
    store.save_label(series.uid, str(drawn), "final", INFO)
    for each in (store, DicomDatastore(web, config, tmp_path / "fresh")):
        (case,) = labelled_cases(each)
        case.usable()
        labels = label_map(config, None, [case])
        assert labels == LabelMap({7: "lesion", 3: "organ"})
        assert (labels.to_values(read_label(case, labels, SHAPE, AFFINE)) == np.array([0, 3, 7])[WANTED]).all()


def test_what_does_not_fit_is_refused_and_not_stored(
    store: DicomDatastore, upload: Upload, drawn: Path, web: DicomWeb, tmp_path: Path
) -> None:
    series = upload("one")
    elsewhere = write(tmp_path / "elsewhere.nii.gz", WANTED, AFFINE + np.eye(4, k=3) * 50)
    for file, info, reason in (
        (elsewhere, INFO, "elsewhere"),
        (drawn, {"label_info": INFO["label_info"][:1]}, "value 2"),
    ):
        with pytest.raises(StudyError, match=reason):
            store.save_label(series.uid, str(file), "final", info)
    with pytest.raises(NotReadyError, match="no names"):
        store.save_label(series.uid, str(drawn), "final", {})
    with pytest.raises(NotFoundError, match=r"1\.2\.3"):
        store.save_label("1.2.3", str(drawn), "final", INFO)
    with pytest.raises(StudyError, match="label tag"):
        store.save_label(series.uid, str(drawn), "../../out", INFO)
    assert web.series(Modality="SEG").found == []
    assert store.get_labeled_images() == []


def test_a_label_on_another_grid_is_laid_on_the_series_and_says_so(
    store: DicomDatastore, upload: Upload, tmp_path: Path
) -> None:
    series = upload("one")
    turned = AFFINE @ np.diag([1.0, -1, 1, 1])
    turned[:3, 3] = (AFFINE @ [0, SHAPE[1] - 1, 0, 1])[:3]
    store.save_label(series.uid, str(write(tmp_path / "turned.nii.gz", WANTED[:, ::-1], turned)), "final", INFO)
    assert (voxels(store.get_label_uri(series.uid, "final")) == WANTED).all()
    assert "Resampled" in store.get_label_info(series.uid, "final")["note"]


def test_every_label_is_kept_and_says_whose_it_was(store: DicomDatastore, upload: Upload, tmp_path: Path) -> None:
    series = upload("one")
    for number, name in enumerate(("anna", "bert")):
        file = write(tmp_path / "drawn.nii.gz", np.roll(WANTED, number, 0))
        store.save_label(series.uid, str(file), "final", INFO | {"client_id": name})
    kept = store.history.all(series.uid, "final")
    assert [label.who for label in kept] == ["anna", "bert"]
    assert [(voxels(label.file) == np.roll(WANTED, number, 0)).all() for number, label in enumerate(kept)] == [
        True,
        True,
    ]
    assert set(store.get_labels_by_image_id(series.uid)) == {"final"}
    info = store.get_label_info(series.uid, "final")
    assert (info["client_id"], info["stamp"]) == ("bert", kept[1].stamp)


def test_the_process_dies_between_a_label_and_its_note(
    store: DicomDatastore, upload: Upload, drawn: Path, server: Orthanc, web: DicomWeb, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = upload("one")
    store.save_label(series.uid, str(drawn), "final", INFO | {"client_id": "anna", "params": {"version": "0001"}})
    server.stop()

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store.studies, "note", dies)
        with pytest.raises(KeyboardInterrupt):
            store.save_label(series.uid, str(drawn), "final", INFO | {"client_id": "bert"})
    info = DicomDatastore(web, Config(), store.folder).get_label_info(series.uid, "final")
    assert (info["client_id"], "params" in info) == ("bert", False)


def test_other_tags_stay_here(store: DicomDatastore, upload: Upload, drawn: Path, web: DicomWeb) -> None:
    series = upload("one")
    store.save_label(series.uid, str(drawn), "original", INFO)
    assert store.get_labels_by_image_id(series.uid) == {"original": series.uid}
    assert (voxels(store.get_label_uri(series.uid, "original")) == WANTED).all()
    assert store.get_label_info(series.uid, "original")["client_id"] == "reader"
    assert store.get_labeled_images() == []
    assert web.series(Modality="SEG").found == []
    store.remove_label(series.uid, "original")
    assert store.get_labels_by_image_id(series.uid) == {}


def test_nothing_is_ever_deleted_on_the_server(
    store: DicomDatastore, upload: Upload, label: Label, drawn: Path
) -> None:
    series = upload("one")
    label(series)
    for forbidden in (
        lambda: store.remove_image(series.uid),
        lambda: store.remove_label(series.uid, "final"),
        lambda: store.add_image("x", str(drawn), {}),
    ):
        with pytest.raises(NotReadyError, match="DICOM server"):
            forbidden()
    assert store.get_labeled_images() == [series.uid]


def test_a_refused_series_is_told_and_not_offered(store: DicomDatastore, upload: Upload, server: Orthanc) -> None:
    whole, gap = upload("whole"), upload("gap")
    server.delete(gap.headers[2].SOPInstanceUID)
    assert store.list_images() == [whole.uid]
    assert "missing" in store.json()["refused"][gap.uid]
    assert store.status()["refused"] == 1
    assert [case.id for case in worklist(store, (), {})[0]] == [whole.uid]
    with pytest.raises(StudyError, match=r"refused.*missing"):
        store.get_image_uri(gap.uid)


def test_an_unknown_study_is_none(store: DicomDatastore, server: Orthanc) -> None:
    assert store.get_image_uri("1.2.3") == ""
    assert store.get_label_uri("1.2.3", "final") == ""
    assert store.get_image_uri("../../etc/passwd") == ""
    server.stop()
    with pytest.raises(DicomServerError, match="does not answer"):
        store.get_image_uri("1.2.3")


def test_while_the_server_is_away_labels_are_taken_and_count(
    store: DicomDatastore, upload: Upload, drawn: Path, server: Orthanc, web: DicomWeb
) -> None:
    one, two = upload("one"), upload("two")
    store.get_image_uri(one.uid)
    server.stop()
    store.save_label(one.uid, str(drawn), "final", INFO)
    status = store.status()
    assert (status["completed"], status["waiting_to_be_stored"]) == (1, 1)
    assert "does not answer" in status["trouble"]
    (case,) = labelled_cases(store)
    assert (voxels(case.usable().label) == WANTED).all()
    assert worklist(store, (), {})[0] == [], "the other one is not at hand"
    server.start()
    store.refresh()
    store.studies.outbox._not_before = 0.0
    assert store.status()["waiting_to_be_stored"] == 0
    assert store.status()["trouble"] == ""
    assert len(web.series(Modality="SEG").found) == 1
    assert [case.id for case in worklist(store, (), {})[0]] == [two.uid]


def test_cases_fetch_their_files_when_they_are_read(store: DicomDatastore, upload: Upload, label: Label) -> None:
    one, two = upload("one"), upload("two")
    label(one, WANTED)
    cases = {case.id: case for case in cases_of(store)}
    assert not any(case.image.exists() for case in cases.values())
    assert cases[one.uid].values == {1: "organ", 2: "lesion"}
    assert (voxels(cases[one.uid].usable().image) == one.array).all()
    assert (voxels(cases[one.uid].label) == WANTED).all()
    assert not cases[two.uid].image.exists()
    assert cases[two.uid].label is None


def test_a_case_changes_its_version_with_its_label(store: DicomDatastore, upload: Upload, label: Label) -> None:
    series = upload("one")
    versions = [cases_of(store)[0].state()]
    for _ in range(2):
        label(series)
        versions.append(cases_of(store)[0].state())
    assert len({str(version) for version in versions}) == 3
    assert cases_of(store)[0].state() == versions[-1]


def test_series_of_a_study_are_one_patient(web: DicomWeb, upload: Upload, label: Label, tmp_path: Path) -> None:
    store = DicomDatastore(web, Config(modalities=("ct", "mr")), tmp_path / "mirror")
    ct, mr = upload("ct", study="s"), upload("mr", study="s", series="2", modality="MR")
    (patient,) = cases_of(store, ("ct", "mr"))
    assert set(patient.modalities) == {"ct", "mr"}
    (offered,) = worklist(store, ("ct", "mr"), {"mr": 0.9})[0]
    assert offered.id == mr.uid, "clients keep the id of the series"
    assert (voxels(offered.usable().image) == mr.array).all()
    label(ct, WANTED)
    (patient,) = cases_of(store, ("ct", "mr"))
    patient.usable()
    assert patient.image == patient.modalities["ct"]
    assert (voxels(patient.modalities["mr"]) == mr.array).all()
    assert (voxels(patient.label) == WANTED).all()
    assert worklist(store, ("ct", "mr"), {})[0] == []


def test_pairs_and_archive_hold_the_labelled_studies(store: DicomDatastore, upload: Upload, label: Label) -> None:
    one, two = upload("one"), upload("two")
    label(one, WANTED)
    (pair,) = store.datalist()
    assert (voxels(pair["label"]) == WANTED).all()
    assert (voxels(pair["image"]) == one.array).all()
    (short,) = store.datalist(full_path=False)
    assert (store.folder / short["image"]).samefile(pair["image"])
    with zipfile.ZipFile(store.get_dataset_archive(None)) as archive:
        assert set(archive.namelist()) == {f"image/{one.uid}.nii", f"label/{one.uid}.nii.gz"}
    label(two)
    with zipfile.ZipFile(store.get_dataset_archive(1)) as archive:
        assert len(archive.namelist()) == 2


def test_the_listing_of_all_is_plain_json(store: DicomDatastore, upload: Upload, label: Label) -> None:
    series = upload("one")
    label(series)
    found = json.loads(json.dumps(store.json()))["objects"][series.uid]
    assert found["image"]["info"]["SeriesInstanceUID"] == series.uid
    assert [item["name"] for item in found["labels"]["final"]["info"]["label_info"]] == ["organ", "lesion"]


def test_the_app_serves_a_dicom_server(
    server: Orthanc, upload: Upload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "MONAI_LABEL_DATASTORE_AUTO_RELOAD", False)  # nothing is checked beforehand
    monkeypatch.setattr(settings, "MONAI_LABEL_SESSION_PATH", str(tmp_path / "sessions"))
    whole, gap = upload("whole"), upload("gap")
    server.delete(gap.headers[2].SOPInstanceUID)
    app = SemisegApp(str(tmp_path), server.url, {"model": str(tmp_path / "model"), "server_mode": "true"})
    for _ in range(5):
        chosen = app.next_sample({"strategy": "random"})
        assert chosen["id"] == whole.uid
        assert (voxels(chosen["path"]) == whole.array).all()
    assert set(app.datastore().studies.known().refused) <= {gap.uid}
    app.datastore().studies.mirror.image_file(whole.uid).unlink()
    server.stop()
    assert "does not answer" in app.info()["datastore"]["trouble"]
    with pytest.raises(DicomServerError, match="does not answer"):
        app.next_sample({})
