"""The folder datastore loses nothing: not to other threads and processes, not to bad uploads, not to a broken index."""

from __future__ import annotations

import errno
import multiprocessing
import shutil
import threading
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from monailabel.datastore.local import LocalDatastoreModel

from lib.config import Config
from lib.errors import NotFoundError, NotReadyError, StorageFullError, StudyError
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


def history(datastore: FolderDatastore, study: str, tag: str = "final") -> list[tuple[bytes, Any]]:
    """Content and submitter of the kept labels, oldest first."""
    return [(kept.file.read_bytes(), kept.info.get("client_id")) for kept in datastore.history.all(study, tag)]


def test_the_labels_before_are_kept_also_those_of_other_programs(datastore: FolderDatastore, tmp_path: Path) -> None:
    file = Path(datastore.get_label_uri("phantom_001", "final"))
    by_hand = file.read_bytes()
    for name in ("a", "b"):
        image = nib.load(file)
        nib.save(
            nib.Nifti1Image(np.asanyarray(image.dataobj) * (name == "a"), image.affine), tmp_path / f"{name}.nii.gz"
        )
        datastore.save_label("phantom_001", str(tmp_path / f"{name}.nii.gz"), "final", {"client_id": name})
    written = [(tmp_path / f"{name}.nii.gz").read_bytes() for name in ("a", "b")]
    kept = history(datastore, "phantom_001")
    assert sorted(kept, key=str) == sorted([(by_hand, None), (written[0], "a"), (written[1], "b")], key=str)
    file.write_bytes(by_hand)  # another program overwrites the label that counts
    datastore.save_label("phantom_001", str(tmp_path / "b.nii.gz"), "final", {"client_id": "c"})
    assert (written[1], "b") in history(datastore, "phantom_001")
    assert set(datastore.json()["objects"]["phantom_001"]["labels"]) == {"final"}  # the history is no tag


def test_what_is_deleted_stays_in_the_history(datastore: FolderDatastore) -> None:
    content = {
        study: Path(datastore.get_label_uri(study, "final")).read_bytes() for study in datastore.get_labeled_images()
    }
    datastore.remove_label("phantom_000", "final")
    datastore.remove_image("phantom_001")
    datastore.refresh()
    assert datastore.get_labeled_images() == ["phantom_002"]
    for study in ("phantom_000", "phantom_001"):
        assert [kept for kept, _ in history(datastore, study)] == [content[study]]


def test_a_label_on_another_grid_is_laid_on_the_images_and_says_so(datastore: FolderDatastore, tmp_path: Path) -> None:
    old = nib.load(datastore.get_label_uri("phantom_001", "final"))
    array = np.asanyarray(old.dataobj)
    flipped = old.affine @ np.diag([-1.0, 1, 1, 1])
    flipped[:3, 3] = (old.affine @ [array.shape[0] - 1, 0, 0, 1])[:3]
    nib.save(nib.Nifti1Image(array[::-1], flipped), tmp_path / "turned.nii.gz")
    datastore.save_label("phantom_001", str(tmp_path / "turned.nii.gz"), "final", {"label_info": INFO})
    stored = nib.load(datastore.get_label_uri("phantom_001", "final"))
    assert np.array_equal(np.asanyarray(stored.dataobj), array)
    assert np.allclose(stored.affine, old.affine)
    assert "Resampled" in datastore.get_label_info("phantom_001", "final")["note"]


def test_a_full_disk_takes_no_label_and_leaves_nothing_half_written(
    datastore: FolderDatastore, label: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, old = index(datastore), Path(datastore.get_label_uri("phantom_001", "final")).read_bytes()
    copy = shutil.copyfile

    def full(source: Any, target: Any, **more: Any) -> None:
        Path(target).write_bytes(Path(source).read_bytes()[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    for place in ("lib.studies.label_history.shutil.copyfile", "lib.files.os.replace"):
        with monkeypatch.context() as patch:
            patch.setattr(place, full)
            with pytest.raises(
                StorageFullError, match=r"label of study 'phantom_001' was not taken.*disk is full"
            ) as said:
                datastore.save_label("phantom_001", datastore.get_label_uri("phantom_001", "final"), "final", {})
        assert said.value.status == 507
    assert copy is shutil.copyfile
    assert index(datastore) == before
    assert Path(datastore.get_label_uri("phantom_001", "final")).read_bytes() == old
    assert not list(Path(datastore._datastore_path).rglob(".part-*"))


def submit(folder: str, config: Config, study: str, name: str, file: Path) -> None:
    """One label after the other, each with a mark of its own."""
    datastore = FolderDatastore(folder, config)
    for number in range(5):
        datastore.save_label(study, str(file), name, {"label_info": INFO, "mark": f"{name}{number}"})
        datastore.save_label(study, str(file), "both", {"label_info": INFO, "mark": f"{name}{number}"})


def test_labels_of_processes_at_once_are_all_kept(datastore: FolderDatastore, config: Config) -> None:
    folder, file = datastore._datastore_path, Path(datastore.get_label_uri("phantom_001", "final"))
    fork = multiprocessing.get_context("fork")
    names = ("original", "x", "y")  # a batch inference and two readers
    tasks = [fork.Process(target=submit, args=(folder, config, "phantom_001", name, file)) for name in names]
    for task in tasks:
        task.start()
    for task in tasks:
        task.join()
    assert [task.exitcode for task in tasks] == [0, 0, 0]
    entry = index(datastore)["phantom_001"]["labels"]
    assert {name: entry[name]["info"]["mark"] for name in names} == {name: f"{name}4" for name in names}
    kept = FolderDatastore(folder, config).history.all("phantom_001", "both")
    assert {each.info["mark"] for each in kept} == {f"{name}{number}" for name in names for number in range(5)}


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


def test_no_reader_sees_the_index_while_it_is_read_anew(
    datastore: FolderDatastore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a moment the library's index has no folder yet: a file would then be one of the working directory."""
    wanted = datastore.get_image_uri("phantom_001"), datastore.get_label_uri("phantom_001", "final")
    seen: list[tuple[str, str]] = []
    reading, go = threading.Event(), threading.Event()
    parse = LocalDatastoreModel.model_validate_json

    def slowly(text: str) -> LocalDatastoreModel:
        found = parse(text)
        datastore._datastore = found  # as the library does, one line before the folder
        reading.set()
        go.wait(0.5)
        return found

    def look() -> None:
        seen.append((datastore.get_image_uri("phantom_001"), datastore.get_label_uri("phantom_001", "final")))
        go.set()

    monkeypatch.setattr(LocalDatastoreModel, "model_validate_json", slowly)
    datastore._config_ts = 0
    writer = threading.Thread(target=datastore._init_from_datastore_file)
    writer.start()
    assert reading.wait(20)
    reader = threading.Thread(target=look)
    reader.start()
    for thread in (reader, writer):
        thread.join()
    assert seen == [wanted]


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
