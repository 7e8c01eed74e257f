"""A label that was taken is on the server some time, once, whatever happens in between."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from lib.dicom.listing import Listing
from lib.dicom.mirror import Mirror
from lib.dicom.outbox import Outbox
from lib.dicom.web import DicomWeb
from lib.errors import DicomServerError, SemisegError
from tests.dicom.conftest import AFFINE, SHAPE, Uploaded
from tests.dicom.orthanc import Orthanc

Upload = Callable[..., Uploaded]
NAMES = {1: "organ", 2: "lesion"}
WANTED = np.zeros(SHAPE, dtype=np.uint8)
WANTED[1:4, 2:7, 3], WANTED[5, 1, 4:6] = 1, 2


@pytest.fixture
def outbox(web: DicomWeb, tmp_path: Path) -> Outbox:
    folder = tmp_path / "mirror"
    folder.mkdir()
    return Outbox(Mirror(folder, Listing(web, folder / "listing.sqlite", ("CT",)), budget=1e9))


def send(outbox: Outbox) -> None:
    outbox.send(outbox.mirror.listing.refresh().series, at_once=True)


def stored(outbox: Outbox, uid: str) -> NDArray:
    """The label of a series as a fresh datastore gets it from the server."""
    listed = outbox.mirror.listing.refresh()
    outbox.mirror.label_file(uid).unlink(missing_ok=True)
    file = outbox.mirror.label(listed.labels[uid], listed.series[uid], uid)
    return np.asanyarray(nib.load(file).dataobj)


@pytest.mark.parametrize("wanted", [WANTED, np.zeros_like(WANTED)], ids=["drawn", "empty"])
def test_a_label_is_stored_and_counts_at_once(outbox: Outbox, upload: Upload, wanted: NDArray) -> None:
    series = upload("one")
    outbox.put(series.uid, wanted, AFFINE, NAMES, version="0003", creator="reader")
    assert outbox.waiting()[series.uid]["names"] == NAMES
    send(outbox)
    assert outbox.waiting() == {}
    label = outbox.mirror.listing.known().labels[series.uid]
    assert label.names({}) == NAMES
    (header,) = outbox.mirror.web.headers(label.study, label.uid)
    assert header.ContentCreatorName == "reader"
    assert header.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0].AlgorithmVersion == "0003"
    assert (stored(outbox, series.uid) == wanted).all()
    assert {file.suffix for file in outbox.folder.iterdir()} <= {".lock"}


def test_an_earlier_label_waits_unchanged_until_the_next_is_there(
    outbox: Outbox, upload: Upload, server: Orthanc, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The power goes when the new voxels are on the disk, but not yet what they mean."""
    series = upload("one")
    outbox.mirror.listing.refresh()
    server.stop()
    outbox.put(series.uid, WANTED, AFFINE, NAMES)

    def power_off(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("lib.dicom.outbox.write_whole", power_off)
        with pytest.raises(KeyboardInterrupt):
            outbox.put(series.uid, 3 - WANTED, AFFINE, {3: "another"})
    assert outbox.waiting()[series.uid]["names"] == NAMES
    outbox.mirror.label_file(series.uid).unlink()
    outbox.bring(series.uid)
    assert (np.asanyarray(nib.load(outbox.mirror.label_file(series.uid)).dataobj) == WANTED).all()


def test_the_stored_label_needs_no_download(outbox: Outbox, upload: Upload, server: Orthanc) -> None:
    series = upload("one")
    outbox.put(series.uid, WANTED, AFFINE, NAMES)
    send(outbox)
    server.stop()
    listed = outbox.mirror.listing.known()
    file = outbox.mirror.label(listed.labels[series.uid], listed.series[series.uid], series.uid)
    assert (np.asanyarray(nib.load(file).dataobj) == WANTED).all()


def test_it_waits_while_the_server_is_away(outbox: Outbox, upload: Upload, server: Orthanc, web: DicomWeb) -> None:
    series = upload("one")
    outbox.mirror.listing.refresh()
    server.stop()
    outbox.put(series.uid, WANTED, AFFINE, NAMES)
    send(outbox)
    assert "does not answer" in outbox.trouble
    again = Outbox(outbox.mirror)  # as after a restart
    assert set(again.waiting()) == {series.uid}
    server.start()
    outbox.mirror.listing.ask_now()
    send(again)
    assert (again.waiting(), again.trouble) == ({}, "")
    assert (stored(outbox, series.uid) == WANTED).all()


def test_a_store_without_an_answer_is_repeated_with_the_same_object(
    outbox: Outbox, upload: Upload, web: DicomWeb, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = upload("one")
    outbox.put(series.uid, WANTED, AFFINE, NAMES)
    store = web.store

    def stored_but_broken_off(dataset: object) -> None:
        store(dataset)
        raise DicomServerError("broke off")

    with monkeypatch.context() as patch:
        patch.setattr(outbox.mirror.web, "store", stored_but_broken_off)
        send(outbox)
    assert set(outbox.waiting()) == {series.uid}
    send(outbox)
    assert outbox.waiting() == {}
    assert len(web.series(Modality="SEG").found) == 1


def test_a_newer_label_takes_the_place_of_a_waiting_one(
    outbox: Outbox, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = upload("one")

    def away(dataset: object) -> None:
        raise DicomServerError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(outbox.mirror.web, "store", away)
        outbox.put(series.uid, np.zeros_like(WANTED), AFFINE, NAMES)
        send(outbox)
    outbox.put(series.uid, WANTED, AFFINE, NAMES)
    send(outbox)
    assert (stored(outbox, series.uid) == WANTED).all()


def test_one_that_cannot_be_stored_does_not_hold_up_the_others(outbox: Outbox, upload: Upload, server: Orthanc) -> None:
    one, two = upload("one"), upload("two")
    outbox.put(one.uid, WANTED, AFFINE, NAMES)
    outbox.put(two.uid, WANTED, AFFINE, NAMES)
    server.delete(one.uid)
    send(outbox)
    assert set(outbox.waiting()) == {one.uid}
    assert one.uid in outbox.trouble
    assert "not on the server" in outbox.trouble


def test_a_label_that_cannot_be_kept_is_not_taken(
    outbox: Outbox, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = upload("one")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(nib, "save", full)
    with pytest.raises(SemisegError, match=f"{series.uid}.*No space left"):
        outbox.put(series.uid, WANTED, AFFINE, NAMES)
    assert outbox.waiting() == {}


def test_after_a_failure_there_is_a_pause(outbox: Outbox, upload: Upload, server: Orthanc) -> None:
    series = upload("one")
    known = outbox.mirror.listing.refresh().series
    outbox.put(series.uid, WANTED, AFFINE, NAMES)
    server.stop()
    outbox.send(known)
    server.start()
    outbox.send(known)
    assert set(outbox.waiting()) == {series.uid}
    outbox.send(known, at_once=True)
    assert outbox.waiting() == {}
