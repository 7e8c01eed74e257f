"""What is no volume is refused before it is offered; a server that is away ends the check, not the program."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lib.dicom.header_check import HeaderCheck
from lib.dicom.listing import Listing
from lib.dicom.web import DicomWeb
from tests.dicom.conftest import Uploaded
from tests.dicom.orthanc import Orthanc


@pytest.fixture
def listing(web: DicomWeb, tmp_path: Path) -> Listing:
    return Listing(web, tmp_path / "listing.sqlite", ("CT",))


def wait(check: HeaderCheck) -> None:
    check.begin()
    if check._thread:
        check._thread.join()


def test_a_series_with_a_gap_is_refused_and_a_whole_one_is_not(
    listing: Listing, upload: Callable[..., Uploaded], server: Orthanc
) -> None:
    whole, gap = upload("whole"), upload("gap")
    server.delete(gap.headers[2].SOPInstanceUID)
    listing.refresh()
    wait(HeaderCheck(listing))
    found = listing.known()
    assert set(found.series) == {whole.uid}
    assert "missing" in found.refused[gap.uid]
    assert found.unchecked == []


def test_what_was_checked_is_not_asked_again(listing: Listing, upload: Callable[..., Uploaded]) -> None:
    upload("one")
    listing.refresh()
    check = HeaderCheck(listing)
    wait(check)
    asked: list[str] = []
    listing.web.session.hooks["response"].append(lambda answer, **_: asked.append(answer.url))
    wait(check)
    wait(HeaderCheck(listing))
    assert asked == []


def test_a_server_that_goes_away_leaves_it_unchecked(
    listing: Listing, upload: Callable[..., Uploaded], server: Orthanc
) -> None:
    series = upload("one")
    listing.refresh()
    server.stop()
    check = HeaderCheck(listing)
    wait(check)
    assert [each.uid for each in listing.known().unchecked] == [series.uid]
    assert listing.known().refused == {}
    server.start()
    wait(check)
    assert listing.known().unchecked == []
