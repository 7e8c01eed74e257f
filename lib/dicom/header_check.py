"""Which new series are volumes, by their headers alone, so that what is none is refused before it is offered."""

from __future__ import annotations

import logging
import threading
import time

from lib.dicom.listed import Series
from lib.dicom.listing import Listing
from lib.dicom.stack import why_not
from lib.dicom.web import is_away
from lib.errors import DicomServerError

log = logging.getLogger(__name__)

REST = 0.05  # seconds between two checks of many
MOMENT = 2.0  # seconds for which the caller waits; a few new series are checked by then


class HeaderCheck:
    """A thread that checks what the listing has not checked yet, one series after the other."""

    def __init__(self, listing: Listing) -> None:
        self.listing = listing
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._failed: set[tuple[str, int]] = set()  # not tried again by this process; a download will tell

    def begin(self) -> None:
        """Start it if there is something to check, and wait a moment for it."""
        with self._starting:
            if self._thread and self._thread.is_alive() or not self._next():
                return
            self._thread = threading.Thread(target=self._run, name="header-check", daemon=True)
            self._thread.start()
        self._thread.join(MOMENT)

    def _next(self) -> list[Series]:
        return [each for each in self.listing.known().unchecked if (each.uid, each.instances) not in self._failed]

    def _run(self) -> None:
        begun = time.monotonic()
        while waiting := self._next():
            for series in waiting:
                if time.monotonic() - begun > MOMENT:
                    time.sleep(REST)  # nobody waits any more, but others are served
                try:
                    reason = why_not(self.listing.web.headers(series.study, series.uid)) or ""
                    self.listing.judge(series, reason)
                except DicomServerError as error:
                    log.info("Not checked. %s", error)
                    if is_away(error):
                        return
                    self._failed.add((series.uid, series.instances))
