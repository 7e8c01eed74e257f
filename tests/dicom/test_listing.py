"""What was labelled or arrived a moment ago counts now, by few questions, on an Orthanc and without its API."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence

from lib.dicom import listing as module
from lib.dicom.listing import Listing
from lib.dicom.web import DicomWeb
from lib.errors import DicomServerError
from tests.dicom.conftest import Uploaded
from tests.dicom.gateway import Gateway
from tests.dicom.orthanc import Orthanc

Upload, Label = Callable[..., Uploaded], Callable[..., Dataset]
KINDS = ("CT", "MR", "PT")


@pytest.fixture(params=["orthanc", "other"])
def listing(request: pytest.FixtureRequest, server: Orthanc, tmp_path: Path) -> Listing:
    """Over an Orthanc, and over a server of which nothing but DICOMweb is known."""
    url = server.url if request.param == "orthanc" else request.getfixturevalue("hidden").url
    return Listing(DicomWeb(url), tmp_path / "listing.sqlite", KINDS)


@pytest.fixture
def asked(listing: Listing) -> Iterator[list[str]]:
    """The addresses that the listing asks from now on."""
    found: list[str] = []
    listing.web.session.hooks["response"].append(lambda answer, **_: found.append(answer.url))
    return found


def test_what_arrived_a_moment_ago_is_listed(listing: Listing, upload: Upload) -> None:
    assert listing.refresh().series == {}
    first = upload("one")
    assert set(listing.refresh().series) == {first.uid}
    second = upload("two", modality="MR", date="20240305", time="101112", patient="P7", description="T1 after contrast")
    found = listing.refresh().series[second.uid]
    assert (found.study, found.modality, found.instances) == (second.study, "MR", len(second.files))
    assert (found.about["StudyDate"], found.about["StudyTime"], found.about["PatientID"]) == (
        "20240305",
        "101112",
        "P7",
    )
    assert set(listing.refresh().series) == {first.uid, second.uid}


def test_a_label_of_a_moment_ago_counts(listing: Listing, upload: Upload, label: Label) -> None:
    one, two = upload("one"), upload("two")
    assert listing.refresh().labels == {}
    stored = label(one)
    found = listing.refresh().labels
    assert set(found) == {one.uid}
    assert found[one.uid].uid == stored.SeriesInstanceUID
    assert found[one.uid].names({}) == {1: "organ", 2: "lesion"}
    assert found[one.uid].names({"lesion": 1}) == {1: "lesion", 2: "organ"}
    label(two, np.zeros_like(two.array, dtype=np.uint8))
    assert set(listing.refresh().labels) == {one.uid, two.uid}, "reviewed, nothing there: labelled all the same"


def test_the_newest_label_counts_until_it_is_deleted(
    listing: Listing, upload: Upload, label: Label, server: Orthanc
) -> None:
    series = upload("one")
    older, newer = label(series), label(series)
    assert listing.refresh().labels[series.uid].uid == newer.SeriesInstanceUID
    server.delete(newer.SeriesInstanceUID)
    assert listing.refresh().labels[series.uid].uid == older.SeriesInstanceUID
    server.delete(older.SeriesInstanceUID)
    assert listing.refresh().labels == {}
    server.delete(series.uid)
    assert listing.refresh().series == {}


def test_a_label_whose_series_is_gone_is_refused_with_the_reason(
    listing: Listing, upload: Upload, label: Label, server: Orthanc
) -> None:
    series = upload("one")
    stored = label(series)
    server.delete(series.uid)
    found = listing.refresh()
    assert (found.series, found.labels) == ({}, {})
    assert series.uid in found.refused[stored.SeriesInstanceUID]
    server.upload(series.files)
    found = listing.refresh()
    assert (set(found.labels), found.refused) == ({series.uid}, {})


def test_a_label_that_names_no_series_is_refused(listing: Listing, upload: Upload, label: Label) -> None:
    stored = label(upload("one"), ReferencedSeriesSequence=Sequence())
    assert "does not say" in listing.refresh().refused[stored.SeriesInstanceUID]


def test_a_structure_set_labels_too(listing: Listing, upload: Upload, server: Orthanc, tmp_path: Path) -> None:
    series = upload("one")
    plan = dcmread(series.files[0])
    del plan.PixelData
    plan.Modality, plan.SOPClassUID, plan.SOPInstanceUID = "RTSTRUCT", "1.2.840.10008.5.1.4.1.1.481.3", "1.2.3.1"
    plan.file_meta.MediaStorageSOPClassUID, plan.file_meta.MediaStorageSOPInstanceUID = plan.SOPClassUID, "1.2.3.1"
    plan.SeriesInstanceUID = "1.2.3"
    by_series, by_study, frame, roi = Dataset(), Dataset(), Dataset(), Dataset()
    by_series.SeriesInstanceUID, by_series.ContourImageSequence = series.uid, []
    by_study.RTReferencedSeriesSequence, frame.RTReferencedStudySequence = [by_series], [by_study]
    plan.ReferencedFrameOfReferenceSequence = [frame]
    roi.ROINumber, roi.ROIName = 7, "tumour"
    plan.StructureSetROISequence = [roi]
    plan.save_as(tmp_path / "plan.dcm")
    server.upload([tmp_path / "plan.dcm"])
    found = listing.refresh()
    assert found.labels[series.uid].modality == "RTSTRUCT"
    assert found.labels[series.uid].names({}) == {1: "tumour"}
    assert set(found.series) == {series.uid}


def test_only_the_wanted_modalities_are_studies(upload: Upload, web: DicomWeb, tmp_path: Path) -> None:
    ct, mr = upload("one"), upload("two", modality="MR")
    file = tmp_path / "listing.sqlite"
    assert set(Listing(web, file, ("MR",)).refresh().series) == {mr.uid}
    assert set(Listing(web, file, KINDS).refresh().series) == {ct.uid, mr.uid}, "another question to the same server"


def test_a_growing_series_is_followed(listing: Listing, upload: Upload, server: Orthanc) -> None:
    series = upload("one", only=3)
    assert listing.refresh().series[series.uid].instances == 3
    server.upload(series.files[3:4])
    assert listing.refresh().series[series.uid].instances == 4


def test_nothing_new_is_one_tiny_answer_on_an_orthanc(web: DicomWeb, upload: Upload, tmp_path: Path) -> None:
    upload("one")
    listing = Listing(web, tmp_path / "listing.sqlite", KINDS)
    first = listing.refresh()
    sizes: list[int] = []
    web.session.hooks["response"].append(lambda answer, **_: sizes.append(len(answer.content)))
    assert listing.refresh() is first
    assert len(sizes) == 2
    assert sum(sizes) < 1500


def test_nothing_new_is_no_listing_where_the_server_has_etags(
    hidden: Gateway, upload: Upload, label: Label, tmp_path: Path
) -> None:
    series, hidden.etags = upload("one"), True
    listing = Listing(DicomWeb(hidden.url), tmp_path / "listing.sqlite", KINDS)
    first = listing.refresh()
    assert listing.refresh() is first
    label(series)
    assert set(listing.refresh().labels) == {series.uid}


def test_another_server_is_not_listed_at_every_question(
    hidden: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AGAIN", 1000.0)
    listing = Listing(DicomWeb(hidden.url), tmp_path / "listing.sqlite", KINDS)
    listing.refresh()
    count = len(hidden.asked)
    listing.refresh()
    assert len(hidden.asked) == count
    listing.ask_now()
    listing.refresh()
    assert len(hidden.asked) > count


def test_many_labels_are_asked_in_one_answer(web: DicomWeb, upload: Upload, label: Label, tmp_path: Path) -> None:
    there = [upload(str(number)) for number in range(module.AT_A_TIME + 4)]
    for series in there:
        label(series)
    asked: list[str] = []
    web.session.hooks["response"].append(lambda answer, **_: asked.append(answer.url))
    listing = Listing(web, tmp_path / "listing.sqlite", KINDS)
    assert set(listing.refresh().labels) == {series.uid for series in there}
    assert len(asked) < len(there)


def test_what_a_label_refers_to_is_asked_once_ever(
    listing: Listing, upload: Upload, label: Label, asked: list[str]
) -> None:
    series = upload("one")
    label(series)
    listing.refresh()
    assert any("metadata" in url for url in asked)
    asked.clear()
    upload("two")
    again = Listing(listing.web, listing.file.path, KINDS)
    assert set(again.refresh().labels) == {series.uid}
    assert not any("metadata" in url for url in asked)


def test_the_listing_outlives_the_server(listing: Listing, upload: Upload, server: Orthanc, tmp_path: Path) -> None:
    series = upload("one")
    listing.refresh()
    server.stop()
    again = Listing(listing.web, listing.file.path, KINDS)
    assert set(again.refresh().series) == {series.uid}
    assert "does not answer" in again.trouble
    server.start()
    again.ask_now()
    two = upload("two")
    assert set(again.refresh().series) == {series.uid, two.uid}
    assert again.trouble == ""


def test_a_server_that_was_never_there_is_a_trouble_not_an_end(server: Orthanc, tmp_path: Path, upload: Upload) -> None:
    server.stop()
    listing = Listing(DicomWeb(server.url), tmp_path / "listing.sqlite", KINDS)
    assert listing.refresh().series == {}
    assert server.url in listing.trouble
    server.start()
    listing.ask_now()
    series = upload("one")
    assert set(listing.refresh().series) == {series.uid}


def test_a_refused_series_is_left_out_until_it_grows(listing: Listing, upload: Upload, server: Orthanc) -> None:
    series = upload("one", only=4)
    found = listing.refresh()
    assert found.unchecked == [found.series[series.uid]]
    listing.judge(found.series[series.uid], "a slice is missing")
    assert listing.known().series == {}
    assert listing.known().refused == {series.uid: "a slice is missing"}
    again = Listing(listing.web, listing.file.path, KINDS)
    assert again.refresh().refused == {series.uid: "a slice is missing"}, "other processes know too"
    server.upload(series.files[4:])
    found = listing.refresh()
    assert found.refused == {}
    assert found.unchecked == [found.series[series.uid]]
    listing.judge(found.series[series.uid], "")
    assert listing.known().unchecked == []


def test_a_refused_label_does_not_count(listing: Listing, upload: Upload, label: Label) -> None:
    series = upload("one")
    older = label(series)
    label(series)
    listing.judge(listing.refresh().labels[series.uid], "it lies elsewhere")
    assert listing.known().labels[series.uid].uid == older.SeriesInstanceUID


def test_a_damaged_file_is_made_again(listing: Listing, upload: Upload) -> None:
    series = upload("one")
    listing.refresh()
    listing.file.path.write_bytes(b"no database" * 1000)
    assert set(listing.refresh().series) == {series.uid}


def test_a_label_whose_headers_cannot_be_had_holds_nothing_up(
    listing: Listing, upload: Upload, label: Label, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = upload("one"), upload("two")
    broken = str(label(one).SeriesInstanceUID)
    headers = listing.web.headers
    monkeypatch.setattr(listing.web, "headers", lambda study, uid: headers(study, "9.9" if uid == broken else uid))
    label(two)
    found = listing.refresh()
    assert set(found.labels) == {two.uid}
    assert broken in found.refused
    monkeypatch.undo()
    listing.ask_now()
    label(two)
    listing.file.put("state", {"stamp": None})
    assert set(listing.refresh().labels) == {one.uid, two.uid}


def test_a_server_that_goes_away_in_between_changes_nothing(
    listing: Listing, upload: Upload, label: Label, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = upload("one")
    label(series)

    def away(study: str, uid: str) -> list[Dataset]:
        raise DicomServerError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(listing.web, "headers", away)
        assert listing.refresh().series == {}
        assert listing.trouble == "gone"
    listing.ask_now()
    assert set(listing.refresh().labels) == {series.uid}
