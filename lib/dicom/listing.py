"""Which series a DICOM server has now, and which are labelled; kept in one file, so that only news is asked for.

An Orthanc is asked for a number that changes with its content, and then only for the series that came or grew. Other
servers are listed anew, at most every few seconds, and by ETag where they have one. What a label object refers to never
changes, so each is asked once ever: within the listing where the server returns it, from an Orthanc all in one answer,
else one by one and several at a time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from filelock import FileLock
from pydicom.dataset import Dataset

from lib.dicom.listed import LABELS, LabelObject, Series, has_references, made
from lib.dicom.listing_file import ListingFile
from lib.dicom.orthanc import Orthanc
from lib.dicom.web import FRAME, OF_LABELS, DicomWeb, is_away
from lib.errors import DicomServerError

log = logging.getLogger(__name__)

MOMENT = 0.05  # seconds for which an answer is good: one request of a client asks several times
AGAIN = 2.0  # seconds before a server without a change feed is listed again
AT_A_TIME = 8  # requests for the headers of labels
PARSERS: dict[str, Callable[[Any], Any]] = {  # kinds of entries in the file that make up what is known
    "series": lambda value: Series(**value),
    "label": lambda value: LabelObject(**value),
    "there": int,
    "verdict": tuple,
}
UNKNOWN = -1  # instances of a label whose headers could not be had
PATIENCE = 4.0  # a failed try is followed by a pause this many times as long as it took


@dataclass(frozen=True)
class Listed:
    """What is there.

    Attributes:
        series: SeriesInstanceUID -> series that may be segmented.
        labels: SeriesInstanceUID of the images -> the newest object that labels them.
        refused: SeriesInstanceUID -> why this series, or this label object, cannot be used.
        unchecked: of ``series``, those of which nobody knows yet whether they are volumes.
    """

    series: dict[str, Series] = field(default_factory=dict)
    labels: dict[str, LabelObject] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    unchecked: list[Series] = field(default_factory=list)


class Listing:
    """The listing of one server, for several threads and processes.

    Args:
        file: where it is kept.
        modalities: Modality of the series to list.
        frames: ask for frames of reference too, which takes an Orthanc half as long again.

    Attributes:
        trouble: why the last try to refresh failed; empty if it did not.
    """

    def __init__(self, web: DicomWeb, file: Path, modalities: Sequence[str], frames: bool = False) -> None:
        self.web, self.modalities, self.frames = web, tuple(modalities), frames
        self.file, self.trouble = ListingFile(file), ""
        self._orthanc = Orthanc(web)
        self._threads, self._processes = threading.RLock(), FileLock(f"{file}.lock")
        self._not_before = 0.0
        self._read: dict[str, tuple[int, dict[str, Any]]] = {}  # kind of entry -> when it was written, and what
        self._known: Listed | None = None

    def refresh(self) -> Listed:
        """What is there now; while the server is away, what was there last, and ``trouble`` says why.

        Raises:
            SemisegError: the file cannot be read or written.
        """
        with self._threads:
            start = time.monotonic()
            if start >= self._not_before:
                try:
                    self._not_before = start + max(MOMENT, self._update())
                    self.trouble = ""
                except DicomServerError as error:
                    self._not_before = time.monotonic() + PATIENCE * (time.monotonic() - start)
                    if str(error) != self.trouble:
                        log.warning("%s", error)
                    self.trouble = str(error)
            return self.known()

    def ask_now(self) -> None:
        """The next refresh asks the server, however short ago it was asked."""
        self._not_before = 0.0

    def known(self) -> Listed:
        """What was there at the last refresh by any process, without a question to the server."""
        with self._threads:
            written = self.file.written()
            old = [kind for kind in PARSERS if self._read.get(kind, (-1,))[0] != written.get(kind, 0)]
            for kind in old:  # a thousand series are not parsed anew for one verdict
                entries = {uid: PARSERS[kind](value) for uid, value in self.file.get(kind).items()}
                self._read[kind] = written.get(kind, 0), entries
            if old or self._known is None:
                self._known = self._listed(**{kind: entries for kind, (_, entries) in self._read.items()})
            return self._known

    def judge(self, series: Series | LabelObject, reason: str) -> None:
        """Keep the result of a check, until the series gets further instances; an empty reason: it can be used."""
        if reason:
            log.warning("Left out of the studies. %s", reason)
        self.file.put("verdict", {series.uid: [series.instances, reason]})

    def add_label(self, label: LabelObject) -> None:
        """A label object that was just stored: it counts at once, and its headers need not be asked for."""
        self.file.write({"label": {label.uid: asdict(label)}, "there": {label.uid: label.instances}})

    def _update(self) -> float:
        """Ask the server; returns the seconds for which the answer is good."""
        stamp = self._orthanc.stamp()
        if stamp and stamp == self._state().get("stamp"):
            return 0.0
        with self._processes:
            state = self._state()
            if stamp and stamp == state.get("stamp"):
                return 0.0
            if stamp is None:
                self._list_by_etag(state)
                return AGAIN
            uids = self._orthanc.changed(state["stamp"], stamp) if state.get("stamp") else None
            if uids is None:
                self._keep(self._query(",".join((*self.modalities, *LABELS))), {"stamp": stamp})
            else:
                rows = self.web.series(SeriesInstanceUID=",".join(uids), include=self._include()).found if uids else []
                self._keep(rows, {"stamp": stamp}, everything=False)
            return 0.0

    def _state(self) -> dict[str, Any]:
        """Of the last answer; empty if that was to another question."""
        state = self.file.get("state")
        return state if state.get("asked") == self._question() else {}

    def _question(self) -> list[Any]:
        return [list(self.modalities), self.frames]

    def _include(self) -> tuple[str, ...]:
        return (FRAME,) if self.frames else ()

    def _query(self, modality: str) -> list[Dataset]:
        return self.web.series(Modality=modality, include=self._include()).found

    def _list_by_etag(self, state: Mapping[str, Any]) -> None:
        """Lists of values are no matching of the standard (PS3.4 C.2.2.2), so there is a query for each modality."""
        tags: dict[str, str] = state.get("etags", {})
        wanted = (*self.modalities, *LABELS)
        answers = {}
        for modality in wanted:
            include = OF_LABELS if modality in LABELS else (FRAME,)
            answers[modality] = self.web.series(tags.get(modality, ""), include, Modality=modality)
        if all(answer.unchanged for answer in answers.values()):
            return
        for modality, answer in answers.items():
            if answer.unchanged:
                answers[modality] = self.web.series(
                    include=OF_LABELS if modality in LABELS else (FRAME,), Modality=modality
                )
        rows = [row for answer in answers.values() for row in answer.found]
        etags = {modality: answer.etag for modality, answer in answers.items() if answer.etag}
        self._keep(rows, {"etags": etags if len(etags) == len(wanted) else {}})

    def _keep(self, rows: Sequence[Dataset], state: dict[str, Any], everything: bool = True) -> None:
        """Write down the answer to a query: of all series, or of those that changed."""
        images = {str(row.SeriesInstanceUID): row for row in rows if row.get("Modality") in self.modalities}
        labels = {str(row.SeriesInstanceUID): row for row in rows if row.get("Modality") in LABELS}
        there = {uid: int(row.get("NumberOfSeriesRelatedInstances") or 0) for uid, row in labels.items()}
        known = self.file.get("label")
        new = {uid: row for uid, row in labels.items() if known.get(uid, {}).get("instances") != there[uid]}
        groups: dict[str, Mapping[str, Any]] = {
            "series": {uid: asdict(Series.of(row)) for uid, row in images.items()},
            "label": {uid: asdict(label) for uid, label in self._labels(new).items()},
            "there": there,
            "state": {"asked": self._question(), "stamp": None, "etags": {}} | state,
        }
        self.file.write(groups, only=("series", "there") if everything else ())

    def _labels(self, rows: Mapping[str, Dataset]) -> dict[str, LabelObject]:
        """What new label objects refer to. One whose headers cannot be had is asked again when the server changes."""
        headers = {uid: [row] for uid, row in rows.items() if has_references(row)}
        for modality in LABELS:
            missing = [uid for uid, row in rows.items() if uid not in headers and row.Modality == modality]
            for header in self._orthanc.headers(modality, missing) if len(missing) > AT_A_TIME else ():
                headers.setdefault(str(header.SeriesInstanceUID), []).append(header)
        missing = [uid for uid in rows if uid not in headers]
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            headers |= {
                uid: found
                for uid, found in zip(missing, pool.map(self._ask, map(rows.get, missing)), strict=True)
                if found
            }
        read = {uid: LabelObject.read(rows[uid], max(found, key=made)) for uid, found in headers.items()}
        return {
            uid: read.get(uid) or replace(LabelObject.read(row, row), instances=UNKNOWN) for uid, row in rows.items()
        }

    def _ask(self, row: Dataset | None) -> list[Dataset]:
        assert row is not None
        try:
            return self.web.headers(str(row.StudyInstanceUID), str(row.SeriesInstanceUID))
        except DicomServerError as error:
            if is_away(error):
                raise  # and all is asked again
            log.warning("A label does not count. %s", error)
            return []

    def _listed(
        self,
        series: dict[str, Series],
        label: dict[str, LabelObject],
        there: dict[str, int],
        verdict: dict[str, tuple[int, str]],
    ) -> Listed:
        objects, verdicts = [each for uid, each in label.items() if uid in there], verdict
        counts = {each.uid: each.instances for each in series.values()} | {each.uid: each.instances for each in objects}
        refused: dict[str, str] = {}
        for uid, (instances, reason) in verdicts.items():
            if reason and instances == counts.get(uid):
                refused[uid] = reason
        labels: dict[str, LabelObject] = {}
        for each in sorted(objects, key=lambda each: (each.made, each.uid)):
            if each.uid in refused:
                continue
            if each.of in series:
                labels[each.of] = each
            elif not each.of:
                refused[each.uid] = f"Series '{each.uid}': this {each.modality} does not say which series it labels"
            else:
                refused[each.uid] = (
                    f"Series '{each.uid}': this {each.modality} labels series {each.of}, which is not among the studies"
                )
        usable = {uid: each for uid, each in series.items() if uid not in refused}
        labels = {uid: label for uid, label in labels.items() if uid in usable}
        unchecked = [each for uid, each in usable.items() if verdicts.get(uid, (None,))[0] != each.instances]
        return Listed(usable, labels, refused, unchecked)
