"""What Orthanc tells beside DICOMweb: what has changed since, and the headers of many objects in one answer.

Its REST API lies beside its DICOMweb root, ``http://host/`` of ``http://host/dicom-web``. Where a proxy shows only the
latter, or the server is another one, everything goes by DICOMweb.
"""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from typing import Any

import requests
from pydicom import dcmread
from pydicom.dataset import Dataset

from lib.dicom.web import CHUNK, DicomWeb

FEW = 50  # series; beyond, listing all anew is the shorter way
ARCHIVE = 64e6  # bytes of objects in one answer
Stamp = dict[str, int]


class Orthanc:
    """The API of the Orthanc behind a DICOMweb address, if it is one."""

    def __init__(self, web: DicomWeb) -> None:
        self.web, self.base = web, web.url.rpartition("/")[0]

    def stamp(self) -> Stamp | None:
        """Numbers that change with every change of the content; None if this is no Orthanc.

        Deletions are not among Orthanc's changes, so its counts belong to the stamp.
        """
        changes, counts = self._ask("/changes", last=""), self._ask("/statistics")
        try:
            return {"last": changes["Last"], "series": counts["CountSeries"], "instances": counts["CountInstances"]}
        except (KeyError, TypeError):
            return None

    def changed(self, before: Mapping[str, int], now: Mapping[str, int]) -> list[str] | None:
        """SeriesInstanceUIDs of the series that came or grew between two stamps; None: list all anew."""
        if before["last"] > now["last"]:
            return None
        changes = self._ask("/changes", since=before["last"], limit=FEW * 20)
        if not changes or not changes["Done"]:
            return None
        series = {change["ID"] for change in changes["Changes"] if change["ChangeType"] == "NewSeries"}
        instances = {change["ID"] for change in changes["Changes"] if change["ChangeType"] == "NewInstance"}
        if before["series"] + len(series) != now["series"] or before["instances"] + len(instances) != now["instances"]:
            return None  # something was deleted, or replaced
        uids: list[str] = []
        while (series or instances) and len(uids) < FEW:
            if not series:
                parent = self._ask(f"/instances/{instances.pop()}")
                series.add(parent["ParentSeries"] if parent else "")
            found = self._ask(f"/series/{series.pop()}")
            if not found:
                return None  # deleted in the meantime
            instances -= set(found["Instances"])
            uids.append(found["MainDicomTags"]["SeriesInstanceUID"])
        return None if series or instances else uids

    def headers(self, modality: str, series: Iterable[str]) -> Iterator[Dataset]:
        """Headers of the instances of many series of one modality, by few requests; none if this is no Orthanc.

        Args:
            series: SeriesInstanceUIDs.
        """
        wanted = set(series)
        all_series = self._ask("/tools/find", post={"Level": "Series", "Query": {"Modality": modality}, "Expand": True})
        ours = {item["ID"] for item in all_series or () if item["MainDicomTags"]["SeriesInstanceUID"] in wanted}
        if not ours:
            return
        query = {"Level": "Instance", "Query": {"Modality": modality}, "Expand": True}
        batch, size = [], 0
        for instance in self._ask("/tools/find", post=query) or ():
            if instance["ParentSeries"] in ours:
                batch.append(instance["ID"])
                size += instance["FileSize"]
                if size > ARCHIVE:
                    yield from self._archived(batch)
                    batch, size = [], 0
        yield from self._archived(batch)

    def _archived(self, instances: list[str]) -> Iterator[Dataset]:
        if not instances:
            return
        body: Any = {"Resources": instances, "Synchronous": True}
        with self.web.sentences("send its labels"), tempfile.SpooledTemporaryFile(max_size=int(ARCHIVE)) as file:
            address = f"{self.base}/tools/create-archive"
            with closing(self.web.session.post(address, json=body, stream=True)) as answer:
                answer.raise_for_status()
                for chunk in answer.iter_content(CHUNK):
                    file.write(chunk)
            with zipfile.ZipFile(file) as archive:
                for name in archive.namelist():
                    with archive.open(name) as member:  # a header only: what it does not reach is not unpacked
                        yield dcmread(io.BytesIO(member.read(int(ARCHIVE))), stop_before_pixels=True)

    def _ask(self, path: str, post: Any = None, **params: Any) -> Any:
        """The JSON of an answer; None where there is none."""
        with self.web.sentences("tell what has changed"):
            address = f"{self.base}{path}"
            answer = self.web.session.request("POST" if post else "GET", address, params=params, json=post)
            if answer.status_code == requests.codes.unauthorized:
                answer.raise_for_status()
            try:
                return answer.json() if answer.ok else None
            except requests.exceptions.JSONDecodeError:
                return None  # another server's page
