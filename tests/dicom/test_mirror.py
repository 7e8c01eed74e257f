"""Files arrive whole, once, on the right grid, within the budget; what is no volume is refused for good."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset

from lib.dicom import volume_file
from lib.dicom.listing import Listing
from lib.dicom.mirror import KEPT, Mirror
from lib.dicom.web import DicomWeb
from lib.errors import SemisegError, StudyAwayError, StudyError
from tests.dicom.conftest import AFFINE, SHAPE, Uploaded
from tests.dicom.gateway import Gateway
from tests.dicom.orthanc import Orthanc

Upload, Label = Callable[..., Uploaded], Callable[..., Dataset]
SIZE = int(np.prod(SHAPE)) * 2  # bytes of a series' voxels


@pytest.fixture
def mirror(web: DicomWeb, tmp_path: Path) -> Mirror:
    folder = tmp_path / "mirror"
    folder.mkdir()
    return Mirror(folder, Listing(web, folder / "listing.sqlite", ("CT",)), budget=1e9)


def fetch(mirror: Mirror, uid: str) -> Path:
    return mirror.image(mirror.listing.refresh().series[uid], uid)


def fetch_label(mirror: Mirror, uid: str) -> Path:
    listed = mirror.listing.refresh()
    return mirror.label(listed.labels[uid], listed.series[uid], uid)


def voxels(file: Path) -> NDArray:
    return np.asanyarray(nib.load(file).dataobj)


def requests_of(mirror: Mirror) -> list[str]:
    found: list[str] = []
    mirror.web.session.hooks["response"].append(lambda answer, **_: found.append(answer.url))
    return found


def test_an_image_is_the_series_in_ras(mirror: Mirror, upload: Upload) -> None:
    series = upload("one")
    file = fetch(mirror, series.uid)
    assert file.name == f"{series.uid}.nii"
    assert (voxels(file) == series.array).all()
    assert np.allclose(nib.load(file).affine, AFFINE, atol=1e-4)


def test_a_label_is_on_the_grid_of_its_series(mirror: Mirror, upload: Upload, label: Label) -> None:
    series = upload("one")
    wanted = np.zeros(SHAPE, dtype=np.uint8)
    wanted[1:4, 2:7, 3] = 1
    wanted[5, 1, 4:6] = 2
    label(series, wanted)
    file = fetch_label(mirror, series.uid)
    assert file.parent == mirror.folder / "labels" / "final"
    assert (voxels(file) == wanted).all()
    assert np.allclose(nib.load(file).affine, nib.load(fetch(mirror, series.uid)).affine)
    assert mirror.names(mirror.listing.known().labels[series.uid]) == {1: "organ", 2: "lesion"}


def test_a_label_has_the_values_of_the_project(mirror: Mirror, upload: Upload, label: Label) -> None:
    series = upload("one")
    wanted = np.zeros(SHAPE, dtype=np.uint8)
    wanted[1:4], wanted[5:7] = 1, 2
    label(series, wanted)
    mirror.classes = {"lesion": 5, "organ": 9}
    assert (voxels(fetch_label(mirror, series.uid)) == np.array([0, 9, 5])[wanted]).all()
    assert mirror.names(mirror.listing.known().labels[series.uid]) == {9: "organ", 5: "lesion"}


def test_what_is_at_hand_is_not_downloaded_again(mirror: Mirror, upload: Upload, label: Label, server: Orthanc) -> None:
    series = upload("one")
    label(series)
    files = [fetch(mirror, series.uid), fetch_label(mirror, series.uid)]
    asked, times = requests_of(mirror), [file.stat().st_mtime_ns for file in files]
    listed = mirror.listing.known()
    again = [
        mirror.image(listed.series[series.uid], series.uid),
        mirror.label(listed.labels[series.uid], listed.series[series.uid], series.uid),
    ]
    assert again == files
    assert asked == []
    assert [file.stat().st_mtime_ns for file in files] == times


def test_a_series_that_grew_and_a_newer_label_are_fetched_anew(
    mirror: Mirror, upload: Upload, label: Label, server: Orthanc
) -> None:
    series = upload("one", only=4)
    assert voxels(fetch(mirror, series.uid)).shape[2] == 4
    server.upload(series.files)
    assert voxels(fetch(mirror, series.uid)).shape[2] == SHAPE[2]
    for wanted in (np.zeros(SHAPE, dtype=np.uint8), np.ones(SHAPE, dtype=np.uint8)):
        label(series, wanted)
        assert (voxels(fetch_label(mirror, series.uid)) == wanted).all()


def test_a_series_that_is_no_volume_is_refused_for_good(mirror: Mirror, upload: Upload, server: Orthanc) -> None:
    series = upload("one")
    server.delete(series.headers[2].SOPInstanceUID)
    with pytest.raises(StudyError, match="missing"):
        fetch(mirror, series.uid)
    assert "missing" in mirror.listing.refresh().refused[series.uid]
    assert not mirror.image_file(series.uid).exists()


def test_a_label_in_another_frame_of_reference_is_refused(mirror: Mirror, upload: Upload, label: Label) -> None:
    series = upload("one")
    stored = label(series, FrameOfReferenceUID="1.2.3.4")
    with pytest.raises(StudyError, match="frame of reference"):
        fetch_label(mirror, series.uid)
    listed = mirror.listing.known()
    assert listed.labels == {}, "it does not count as labelled"
    assert "frame of reference" in listed.refused[stored.SeriesInstanceUID]


@pytest.mark.parametrize("missing", [10, 2000])
def test_a_download_that_breaks_off_leaves_nothing(
    hidden: Gateway, upload: Upload, tmp_path: Path, missing: int
) -> None:
    series = upload("one")
    mirror = Mirror(tmp_path, Listing(DicomWeb(hidden.url), tmp_path / "listing.sqlite", ("CT",)), 1e9)
    hidden.cut = sum(file.stat().st_size for file in series.files) - missing
    with pytest.raises(StudyAwayError, match=r"not at hand.*broke off") as caught:
        fetch(mirror, series.uid)
    assert caught.value.status == 503
    assert not mirror.image_file(series.uid).exists()
    assert list(tmp_path.glob(".part-*")) == []
    assert mirror.listing.known().refused == {}, "the series is not to blame"
    hidden.cut = None
    assert (voxels(fetch(mirror, series.uid)) == series.array).all()


def test_fewer_instances_than_listed_are_not_taken_for_whole(mirror: Mirror, upload: Upload, server: Orthanc) -> None:
    series = upload("one")
    listed = mirror.listing.refresh().series[series.uid]
    server.delete(series.headers[-1].SOPInstanceUID)
    with pytest.raises(StudyAwayError, match=f"{SHAPE[2] - 1} of the {SHAPE[2]} instances"):
        mirror.image(listed, series.uid)


def test_while_the_server_is_away_what_is_at_hand_is_enough(
    mirror: Mirror, upload: Upload, label: Label, server: Orthanc
) -> None:
    one, two = upload("one"), upload("two")
    label(one)
    fetch_label(mirror, one.uid)
    server.stop()
    assert fetch(mirror, one.uid).exists()
    assert fetch_label(mirror, one.uid).exists()
    with pytest.raises(StudyAwayError, match="does not answer"):
        fetch(mirror, two.uid)
    assert mirror.here(mirror.listing.known().series[one.uid], one.uid)
    assert not mirror.here(mirror.listing.known().series[two.uid], two.uid)
    server.start()
    mirror.listing.ask_now()
    assert (voxels(fetch(mirror, two.uid)) == two.array).all()


def test_several_at_once_download_once(mirror: Mirror, upload: Upload) -> None:
    series = upload("one")
    mirror.listing.refresh()
    asked, failures = requests_of(mirror), []

    def get() -> None:
        try:
            mirror.image(mirror.listing.known().series[series.uid], series.uid)
        except Exception as error:  # told below, not lost in the thread
            failures.append(error)

    threads = [threading.Thread(target=get) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(asked) == 1


def test_the_least_recently_used_images_go_beyond_the_budget(mirror: Mirror, upload: Upload) -> None:
    there = [upload(str(number)).uid for number in range(5)]
    for uid in there[:3]:
        mirror.budget = 3.5 * fetch(mirror, uid).stat().st_size
    fetch(mirror, there[0])
    for uid in there[3:]:
        fetch(mirror, uid)
    kept = {file.stem for file in mirror.folder.glob("*.nii")}
    assert kept == {there[0], there[3], there[4]}
    assert sum(file.stat().st_size for file in mirror.folder.glob("*.nii")) <= mirror.budget


def test_the_newest_images_stay_however_small_the_budget(mirror: Mirror, upload: Upload) -> None:
    mirror.budget = 1
    for number in range(4):
        file = fetch(mirror, upload(str(number)).uid)
        assert file.exists()
        assert len(list(mirror.folder.glob("*.nii"))) <= KEPT + 1


def test_an_image_that_is_open_survives_its_eviction(mirror: Mirror, upload: Upload) -> None:
    mirror.budget, series = 1, upload("one")
    opened = nib.load(fetch(mirror, series.uid))
    with opened.file_map["image"].get_prepare_fileobj() as file:
        data = file.read(348)
        for number in range(5):
            fetch(mirror, upload(str(number)).uid)
        assert not mirror.image_file(series.uid).exists()
        assert len(data) == 348
        assert len(file.read()) >= SIZE


def test_a_full_disk_is_a_sentence_and_leaves_nothing(
    mirror: Mirror, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = upload("one")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(nib, "save", full)
        with pytest.raises(SemisegError, match=r"No space left.*mirror_gb"):
            fetch(mirror, series.uid)
    assert list(mirror.folder.glob("*.nii")) == []
    assert list(mirror.folder.glob(".part-*")) == []
    assert (voxels(fetch(mirror, series.uid)) == series.array).all()


def test_a_damaged_file_is_fetched_anew(mirror: Mirror, upload: Upload) -> None:
    series = upload("one")
    file = fetch(mirror, series.uid)
    file.write_bytes(file.read_bytes()[:200])
    assert volume_file.about(file) == {}
    assert (voxels(fetch(mirror, series.uid)) == series.array).all()


def test_what_a_dead_process_left_is_removed(mirror: Mirror, upload: Upload) -> None:
    left = mirror.folder / ".part-dead"
    left.mkdir()
    (left / "00001.dcm").write_bytes(b"half")
    os.utime(left, (0, 0))
    fetch(mirror, upload("one").uid)
    assert not left.exists()
