"""RFC 2046, 5.1.1: parts between delimiter lines, the last one with two hyphens; a body without it is not whole."""

from __future__ import annotations

import pytest

from lib.dicom.multipart import Truncated, boundary_of, parts

PARTS = [b"first\r\n--not the boundary\r\n", b"", b"\x00" * 50 + b"\r\n--edge"[:4], b"last"]
BODY = b"".join(b"\r\n--edge\r\nContent-Type: application/dicom\r\n\r\n" + part for part in PARTS) + b"\r\n--edge--\r\n"


def in_pieces(body: bytes, size: int) -> list[bytes]:
    return [body[start : start + size] for start in range(0, len(body), size)]


@pytest.mark.parametrize("size", [1, 2, 7, 8, 1000])
def test_parts_come_whole_in_pieces_of_any_size(size: int) -> None:
    assert list(parts(in_pieces(BODY, size), b"edge")) == PARTS


def test_the_first_delimiter_may_stand_at_the_start() -> None:
    assert list(parts([BODY.removeprefix(b"\r\n")], b"edge")) == PARTS


@pytest.mark.parametrize("end", range(0, len(BODY) - 3, 5))
def test_a_body_that_breaks_off_is_noticed_wherever(end: int) -> None:
    with pytest.raises(Truncated):
        list(parts([BODY[:end]], b"edge"))


def test_the_boundary_is_that_of_the_header() -> None:
    assert boundary_of('multipart/related; type="application/dicom"; boundary="a b"') == b"a b"
    with pytest.raises(ValueError, match="text/html"):
        boundary_of("text/html")
