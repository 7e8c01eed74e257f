"""Over a real Orthanc: what was put there is found, comes back unchanged, and every failure is a sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from lib.dicom.stack import why_not
from lib.dicom.web import DicomWeb
from lib.errors import DicomServerError
from tests.dicom.conftest import SHAPE, Uploaded
from tests.dicom.gateway import Gateway
from tests.dicom.orthanc import Orthanc, orthanc

Upload = Callable[..., Uploaded]


def uids(found: list[Dataset]) -> set[str]:
    return {str(row.SeriesInstanceUID) for row in found}


def test_series_are_found_by_their_modality(web: DicomWeb, upload: Upload) -> None:
    ct, mr = upload("one"), upload("two", modality="MR")
    assert uids(web.series(Modality="CT").found) == {ct.uid}
    (row,) = web.series(Modality="MR", include=["FrameOfReferenceUID"]).found
    assert (row.SeriesInstanceUID, row.StudyInstanceUID) == (mr.uid, mr.study)
    assert row.NumberOfSeriesRelatedInstances == SHAPE[2]
    assert row.FrameOfReferenceUID == mr.headers[0].FrameOfReferenceUID
    assert web.series(Modality="PT").found == []


@pytest.mark.parametrize("compressed", [False, True])
def test_a_series_comes_as_it_was_stored(web: DicomWeb, upload: Upload, tmp_path: Path, compressed: bool) -> None:
    series = upload("one", compressed=compressed)
    found = [dcmread(file) for file in web.download(series.study, series.uid, tmp_path)]
    sent = {file.SOPInstanceUID: file for file in map(dcmread, series.files)}
    assert {file.SOPInstanceUID for file in found} == sent.keys()
    for file in found:
        assert file.file_meta.TransferSyntaxUID == sent[file.SOPInstanceUID].file_meta.TransferSyntaxUID
        assert file == sent[file.SOPInstanceUID]


def test_headers_tell_whether_a_series_is_a_volume(web: DicomWeb, upload: Upload) -> None:
    whole, gap = upload("whole"), upload("gap")
    assert why_not(web.headers(whole.study, whole.uid)) is None
    headers = web.headers(gap.study, gap.uid)
    headers = [header for header in headers if header.InstanceNumber != 3]
    assert "missing" in str(why_not(headers))


def test_what_is_stored_is_there_and_once(web: DicomWeb, upload: Upload, label: Callable[..., Dataset]) -> None:
    stored = label(upload("one"))
    web.store(stored)
    (row,) = web.series(Modality="SEG").found
    assert (row.SeriesInstanceUID, row.NumberOfSeriesRelatedInstances) == (stored.SeriesInstanceUID, 1)


@pytest.mark.programs
def test_user_and_password_are_needed_where_the_server_says_so(tmp_path: Path) -> None:
    with orthanc(tmp_path / "closed", user="reader", password="secret") as server:
        assert DicomWeb(server.url, "reader", "secret").series().found == []
        assert DicomWeb(server.url.replace("//", "//reader:secret@")).series().found == []
        for web in (DicomWeb(server.url), DicomWeb(server.url.replace("//", "//reader:wrong@"))):
            with pytest.raises(DicomServerError, match="refuses the user or the password") as caught:
                web.series()
            assert "wrong" not in str(caught.value)
            assert "MONAI_LABEL_DICOMWEB_PASSWORD" in str(caught.value)


def test_a_server_that_is_gone_is_named(web: DicomWeb, server: Orthanc) -> None:
    server.stop()
    with pytest.raises(DicomServerError, match="does not answer") as caught:
        web.series()
    assert server.url in str(caught.value)
    assert caught.value.status == 503
    server.start()
    assert web.series().found == []


def test_an_unknown_series_is_named(web: DicomWeb, tmp_path: Path) -> None:
    with pytest.raises(DicomServerError, match=r"1\.2\.4.*404"):
        web.headers("1.2.3", "1.2.4")
    with pytest.raises(DicomServerError, match=r"1\.2\.4"):
        web.download("1.2.3", "1.2.4", tmp_path)


@pytest.mark.parametrize("body", [b"<html>", b'["a"]', b'[{"0020000E": 5}]', b'{"error": 1}'])
def test_an_answer_that_is_no_dicomweb_is_a_sentence(hidden: Gateway, body: bytes, tmp_path: Path) -> None:
    hidden.answer = 200, body
    web = DicomWeb(hidden.url)
    for ask in (web.series, lambda: web.download("1.2", "1.3", tmp_path)):
        with pytest.raises(DicomServerError, match="did not"):
            ask()


def test_a_label_that_is_refused_is_told(hidden: Gateway, upload: Upload, label: Callable[..., Dataset]) -> None:
    stored = label(upload("one"))
    failed = {"00081197": {"vr": "US", "Value": [0xA700]}}  # PS3.18 table I.2-2: out of resources
    hidden.answer = 200, json.dumps({"00081198": {"vr": "SQ", "Value": [failed]}}).encode()
    with pytest.raises(DicomServerError, match="0xa700"):
        DicomWeb(hidden.url).store(stored)
    hidden.answer = 507, b""
    with pytest.raises(DicomServerError, match="507"):
        DicomWeb(hidden.url).store(stored)


@pytest.mark.parametrize("missing", [1, 2000])
def test_a_series_that_breaks_off_is_noticed(hidden: Gateway, upload: Upload, tmp_path: Path, missing: int) -> None:
    series = upload("one")
    size = sum(file.stat().st_size for file in series.files)
    hidden.cut = size - missing
    with pytest.raises(DicomServerError, match="broke off"):
        DicomWeb(hidden.url).download(series.study, series.uid, tmp_path)


def test_a_question_is_asked_again_where_the_connection_ended(hidden: Gateway, upload: Upload, tmp_path: Path) -> None:
    series, web = upload("one"), DicomWeb(hidden.url)
    for ask in (web.series, lambda: web.headers(series.study, series.uid)):
        hidden.hangs_up = 1
        assert ask()
    hidden.hangs_up = 2
    with pytest.raises(DicomServerError):
        web.download(series.study, series.uid, tmp_path)
    assert hidden.hangs_up == 0  # it was asked twice and no more


def test_a_label_is_not_sent_twice(hidden: Gateway, upload: Upload, label: Callable[..., Dataset]) -> None:
    stored = label(upload("one"))
    hidden.hangs_up = 1
    with pytest.raises(DicomServerError):
        DicomWeb(hidden.url).store(stored)
    assert [line for line in hidden.asked if line.startswith("POST")] == hidden.asked[-1:]


def test_a_listing_in_pages_is_whole(hidden: Gateway, upload: Upload) -> None:
    there = {upload(str(number)).uid for number in range(5)}
    hidden.page = 2
    assert uids(DicomWeb(hidden.url).series().found) == there


def test_a_known_answer_is_not_sent_again(hidden: Gateway, upload: Upload) -> None:
    upload("one")
    hidden.etags = True
    web = DicomWeb(hidden.url)
    first = web.series()
    assert first.etag
    assert web.series(first.etag).unchanged
    upload("two")
    assert len(web.series(first.etag).found) == 2
