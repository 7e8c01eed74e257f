"""Logs that do not name patients: what stands behind the ``?`` of an address (a DICOMweb search asks for PatientName)
is left out of every line, whichever library wrote it."""

from __future__ import annotations

import logging
import re
from typing import Any

import pydicom.config

QUERY = re.compile(r"(?<=[\w/)\]])\?[^\s\"'<>]*=[^\s\"'<>]*")
LEFT_OUT = "?..."


class NoQueries(logging.Filter):
    """Takes the queries out of a record, its traceback included."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Clean the record; it is always written."""
        record.msg = _clean(record.msg)
        if isinstance(record.args, tuple):  # kept one by one: uvicorn's own format needs five of them
            record.args = tuple(_clean(value) for value in record.args)
        if QUERY.search(record.getMessage()):
            record.msg, record.args = _clean(record.getMessage()), ()
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        record.exc_text = _clean(record.exc_text)
        return True


def keep_patients_out_of_logs() -> None:
    """For all logs that there are now, those of uvicorn among them. pydicom warns no more of values it doubts: the
    warnings quote them."""
    everywhere = [logging.root, *map(logging.getLogger, logging.root.manager.loggerDict)]
    for handler in {handler for logger in everywhere for handler in logger.handlers}:
        if not any(isinstance(found, NoQueries) for found in handler.filters):
            handler.addFilter(NoQueries())
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE


def _clean(value: Any) -> Any:
    """Numbers as they are; exceptions, which may quote an address, as their text."""
    text = str(value) if isinstance(value, BaseException) else value
    return QUERY.sub(LEFT_OUT, text) if isinstance(text, str) else text
