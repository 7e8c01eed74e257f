"""What a log must not say: the query of an address, for it may name a patient."""

from __future__ import annotations

import logging

import pytest
from uvicorn.logging import AccessFormatter

from lib.server.log_filter import NoQueries, keep_patients_out_of_logs

QUERY = "PatientName=DOE%5EJOHN&PatientID=4711"


def written(message: str, *args: object, error: BaseException | None = None) -> str:
    exc_info = (type(error), error, None) if error else None
    record = logging.LogRecord("x", logging.INFO, "file", 1, message, args, exc_info)
    assert NoQueries().filter(record)
    return logging.Formatter("%(message)s").format(record)


@pytest.mark.parametrize(
    "line",
    [
        written(f"GET /proxy/dicom/qido/studies?{QUERY} -> 503"),
        written("GET %s", f"http://pacs/dicom-web/studies?{QUERY}"),
        written("%s", ValueError(f"Max retries exceeded with url: /dicom-web/series?{QUERY} (caused by x)")),
        written("%r", ConnectionError(f"/dicom-web/series?{QUERY}")),
        written("%s?%s", "/dicom-web/series", QUERY),
        written("failed", error=RuntimeError(f"http://pacs/studies?{QUERY}")),
    ],
)
def test_queries_are_left_out(line: str) -> None:
    assert "DOE" not in line
    assert "4711" not in line
    assert "?..." in line


@pytest.mark.parametrize("text", ["Really? Yes, a=b", "GET /info/ -> 200", "what? x", "a ? b=c : d", "100 %"])
def test_other_lines_are_as_they_were(text: str) -> None:
    assert written(text) == text
    assert written("%s: %d of %d (%.2f)", text, 1, 2, 0.5) == f"{text}: 1 of 2 (0.50)"


def test_the_access_log_of_uvicorn_keeps_its_form() -> None:
    args = ("127.0.0.1:1", "GET", f"/proxy/dicom/studies?{QUERY}", "1.1", 200)
    record = logging.LogRecord("uvicorn.access", logging.INFO, "file", 1, '%s - "%s %s HTTP/%s" %d', args, None)
    NoQueries().filter(record)
    line = AccessFormatter("%(request_line)s %(status_code)s", use_colors=False).format(record)
    assert line == "GET /proxy/dicom/studies?... HTTP/1.1 200 OK"


def test_all_logs_there_are_get_the_filter_once() -> None:
    handler = logging.StreamHandler()
    logger = logging.getLogger("of.another.library")
    logger.addHandler(handler)
    try:
        keep_patients_out_of_logs()
        keep_patients_out_of_logs()
        assert [type(found) for found in handler.filters] == [NoQueries]
    finally:
        logger.removeHandler(handler)
