"""The folder datastore loses nothing: not to other threads and processes, not to bad uploads, not to a broken index."""

from __future__ import annotations

import multiprocessing
import threading
from pathlib import Path
from typing import Any

import pytest
import SimpleITK as sitk

from lib.config import Config
from lib.errors import NotFoundError, NotReadyError, StudyError
from lib.server.datastore import FolderDatastore
from tests.server.conftest import INFO, index


def finals(datastore: FolderDatastore) -> list[str]:
    """Names of the files with final labels, hidden ones too."""
    return sorted(file.name for file in (Path(datastore._datastore_path) / "labels" / "final").iterdir())


@pytest.fixture
def label(studies: Path) -> Path:
    """A label file outside of the studies, which fits study 0."""
    return (studies / "labels" / "final" / "phantom_000.nii.gz").rename(studies.parent / "submitted.nii.gz")


def test_what_only_has_the_name_of_an_image_is_left_out(studies: Path, config: Config) -> None:
    (studies / "folder.nii.gz").mkdir()
    (studies / ".hidden.nii.gz").touch()
    (studies / "notes.gif").touch()
    assert sorted(FolderDatastore(str(studies), config).list_images()) == [f"phantom_00{i}" for i in range(6)]


def test_a_label_is_stored_with_its_info(label: Path, studies: Path, config: Config) -> None:
    datastore = FolderDatastore(str(studies), config)
    assert (
        datastore.save_label("phantom_000", str(label), "final", {"label_info": INFO, "client_id": "x"})
        == "phantom_000"
    )
    info = index(datastore)["phantom_000"]["labels"]["final"]["info"]
    assert info["label_info"] == INFO
    assert info["client_id"] == "x"
    assert info["name"] == "phantom_000.nii.gz"
    assert (studies / "labels" / "final" / "phantom_000.nii.gz").read_bytes() == label.read_bytes()


def test_a_label_of_another_file_type_takes_the_place_of_the_old_one(
    datastore: FolderDatastore, tmp_path: Path
) -> None:
    old = datastore.get_label_uri("phantom_001", "final")
    sitk.WriteImage(sitk.ReadImage(old), str(tmp_path / "new.nrrd"))
    datastore.save_label("phantom_001", str(tmp_path / "new.nrrd"), "final", {"label_info": INFO})
    assert finals(datastore) == ["phantom_000.nii.gz", "phantom_001.nrrd", "phantom_002.nii.gz"]
    assert datastore.get_label_uri("phantom_001", "final").endswith(".nrrd")


def test_a_refused_label_leaves_everything_as_it_was(datastore: FolderDatastore, studies: Path, label: Path) -> None:
    before, files = index(datastore), finals(datastore)
    label.write_bytes(b"garbage")
    for study, tag, kind in (
        ("phantom_001", "final", StudyError),
        ("phantom_001", "../../x", StudyError),
        ("phantom_001", "/abs", StudyError),
        ("nothing", "final", NotFoundError),
    ):
        with pytest.raises(kind):
            datastore.save_label(study, str(label), tag, {})
    assert index(datastore) == before
    assert finals(datastore) == files
    assert not (studies.parent / "x").exists()


def test_images_are_added_only_where_they_belong_and_fit(
    datastore: FolderDatastore, studies: Path, tmp_path: Path
) -> None:
    image = (studies / "phantom_005.nii.gz").rename(tmp_path / "upload.nii.gz")
    datastore.refresh()
    assert datastore.add_image("new", str(image), {}) == "new"
    assert (studies / "new.nii.gz").read_bytes() == image.read_bytes()
    with pytest.raises(StudyError, match="study id"):
        datastore.add_image(str(tmp_path / "elsewhere"), str(image), {})
    with pytest.raises(NotReadyError, match="labels already"):
        datastore.add_image("phantom_000", str(image), {})
    image.write_bytes(b"garbage")
    with pytest.raises(StudyError, match="'other'"):
        datastore.add_image("other", str(image), {})
    assert "other" not in datastore.list_images()


def test_deleting_a_study_takes_its_labels_along(datastore: FolderDatastore, studies: Path) -> None:
    datastore.remove_image("phantom_000")
    assert "phantom_000" not in datastore.list_images()
    assert "phantom_000.nii.gz" not in finals(datastore)
    with pytest.raises(NotFoundError):
        datastore.remove_image("phantom_000")


def test_two_datastores_of_one_folder_see_and_keep_each_others_changes(studies: Path, config: Config) -> None:
    one, other = FolderDatastore(str(studies), config), FolderDatastore(str(studies), config)
    for place, study in enumerate(sorted(one.list_images())):
        (one, other)[place % 2].update_image_info(study, {"seen": place})
    assert [entry["image"]["info"]["seen"] for _, entry in sorted(index(one).items())] == list(range(6))


def change(datastore: FolderDatastore, name: str) -> None:
    """Twenty-five changes of the same entry, with all else that goes on meanwhile."""
    for i in range(25):
        datastore.update_image_info("phantom_001", {f"{name}{i}": i})
        assert len(datastore.list_images()) == 6  # never in the middle of another change
        datastore.refresh()


def test_changes_of_threads_and_processes_at_once_are_all_kept(datastore: FolderDatastore, config: Config) -> None:
    folder = datastore._datastore_path
    fork = multiprocessing.get_context("fork")
    process = fork.Process(target=lambda: change(FolderDatastore(folder, config), "process"))
    threads = [threading.Thread(target=change, args=(datastore, name)) for name in ("a", "b")]
    for task in (process, *threads):
        task.start()
    for task in (process, *threads):
        task.join()
    assert process.exitcode == 0
    kept = {key for key in index(datastore)["phantom_001"]["image"]["info"] if key[-1].isdigit()}
    assert kept == {f"{name}{i}" for name in ("a", "b", "process") for i in range(25)}


def change_slowly(folder: str, config: Config, held: Any, go: Any) -> None:
    """A change that has read the index and not yet written it."""
    datastore = FolderDatastore(folder, config)
    with datastore._alone():
        held.set()
        go.wait(20)
        datastore._datastore.objects["phantom_001"].image.info["slow"] = 1
        datastore._update_datastore_file()


def test_a_change_waits_for_the_one_of_another_process(datastore: FolderDatastore, config: Config) -> None:
    fork = multiprocessing.get_context("fork")
    held, go = fork.Event(), fork.Event()
    slow = fork.Process(target=change_slowly, args=(datastore._datastore_path, config, held, go))
    quick = threading.Thread(target=datastore.update_image_info, args=("phantom_001", {"quick": 1}))
    slow.start()
    assert held.wait(20)
    quick.start()
    quick.join(0.5)
    go.set()
    for task in (slow, quick):
        task.join()
    assert {"slow", "quick"} <= set(index(datastore)["phantom_001"]["image"]["info"])


def test_a_damaged_index_is_set_aside_and_the_studies_are_found_again(studies: Path, config: Config) -> None:
    FolderDatastore(str(studies), config)
    file = studies / "datastore_v2.json"
    file.write_text(file.read_text()[:200])
    datastore = FolderDatastore(str(studies), config)
    assert len(datastore.list_images()) == 6
    assert len(datastore.get_labeled_images()) == 3
    assert len(list(studies.glob("datastore_v2.json.damaged-*"))) == 1


def test_the_index_is_whole_at_every_moment(datastore: FolderDatastore, monkeypatch: pytest.MonkeyPatch) -> None:
    before = index(datastore)
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("power cut")))
    with pytest.raises(OSError, match="power cut"):
        datastore.update_image_info("phantom_001", {"a": 1})
    assert index(datastore) == before


def test_an_archive_needs_a_label(unnamed: FolderDatastore) -> None:
    with pytest.raises(NotReadyError, match="no labelled study"):
        unnamed.get_dataset_archive(None)


def test_studies_that_arrive_while_the_server_runs_are_seen(studies: Path, config: Config) -> None:
    datastore = FolderDatastore(str(studies), config, auto_reload=True)
    seen = threading.Event()
    refresh = datastore.refresh
    datastore.refresh = lambda: (refresh(), seen.set())[0]  # type: ignore[method-assign]
    draft = studies / ".new.part"
    draft.write_bytes((studies / "phantom_000.nii.gz").read_bytes())
    draft.rename(studies / "new.nii.gz")  # as many tools end a download
    assert seen.wait(20)
    assert "new" in datastore.list_images()
    datastore._observer.stop()
    assert index(datastore)["new"]["image"]["ext"] == ".nii.gz"


def test_cases_are_made_anew_only_where_something_changed(datastore: FolderDatastore, tmp_path: Path) -> None:
    first = {case.id: case for case in datastore.cases()}
    again = {case.id: case for case in datastore.cases()}
    assert first.keys() == again.keys() == set(datastore.list_images())
    assert all(again[study] is case for study, case in first.items())
    datastore.update_label_info("phantom_000", "final", {"label_info": [{"name": "organ", "idx": 1}]})
    datastore.remove_label("phantom_001", "final")
    datastore.remove_image("phantom_005")
    changed = {case.id: case for case in datastore.cases()}
    assert changed.keys() == first.keys() - {"phantom_005"}
    assert changed["phantom_000"].values == {1: "organ"}
    assert changed["phantom_001"].label is None
    assert changed["phantom_002"] is first["phantom_002"]
