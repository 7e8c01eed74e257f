"""Labels on their way to the DICOM server. One that was taken here is never lost: it waits on disk until it is stored.

A label is a ``.nii.gz`` of its own name and ``<SeriesInstanceUID>.json``, which names that file and what its values
mean, and is written last, in one step: an earlier label waits as it was until then. The DICOM object is made once and
kept as ``.dcm``, so that a repeated attempt stores the same object instead of a second one.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from lib.dicom import volume_file
from lib.dicom.listed import LabelObject, Series
from lib.dicom.mirror import Mirror, label_version
from lib.dicom.segmentation_write import write_segmentation
from lib.dicom.web import is_away
from lib.errors import DicomServerError, SemisegError, StorageFullError, StudyError
from lib.files import is_full, remove, whole_file, write_whole
from lib.studies.reading import read_volume

log = logging.getLogger(__name__)

AGAIN = 10.0  # seconds after a failure before the next attempt


class Outbox:
    """The waiting labels of one mirror, for several threads and processes."""

    def __init__(self, mirror: Mirror, **settings: Any) -> None:
        self.mirror, self.settings = mirror, settings
        self.folder = mirror.folder / "outbox"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.trouble = ""
        self._not_before = 0.0

    def put(
        self, series: str, array: NDArray[np.uint8], affine: NDArray, names: Mapping[int, str], **about: Any
    ) -> None:
        """Take a label; it takes the place of one of the same series that still waits. The mirror has it at once.

        Args:
            array: ``(X, Y, Z)`` on the grid of the series.
            names: value -> class name, of all classes, as the mirror numbers them.
            about: ``version``, ``creator`` and ``automatic`` for :func:`write_segmentation`.

        Raises:
            SemisegError: it cannot be written, and was not taken.
        """
        try:
            with self._lock(series):
                before = self._about(series)
                name = f"{series}.{time.time_ns()}.nii.gz"
                volume_file.save(self.folder / name, array, affine)
                facts = {"names": names, "version_here": f"taken {time.time()}", "file": name, **about}
                write_whole(self.folder / f"{series}.json", json.dumps(facts))
                self._drop(series, before)
            self.bring(series)
        except (OSError, SemisegError) as error:
            kind = StorageFullError if is_full(error) else SemisegError
            raise kind(f"The label of series {series} cannot be kept ({error}); free disk space") from error

    def bring(self, series: str) -> None:
        """Have the mirror hold the label that waits, if one does: the process that took it may have died in between."""
        with self._lock(series):
            about, version = self._about(series), volume_file.about(self.mirror.label_file(series)).get("version")
            if about and about["version_here"] != version:
                volume, affine = read_volume(self._label(series, about))
                self.mirror.keep_label(series, volume.astype(np.uint8), affine, about["version_here"])

    def waiting(self) -> dict[str, dict[str, Any]]:
        """SeriesInstanceUID -> what is known of its label: ``names`` (value -> class name), ``version_here``..."""
        names = (file.name.removesuffix(".json") for file in self.folder.glob("*.json"))
        return {series: about for series in names if (about := self._about(series))}

    def send(self, series: Mapping[str, Series], at_once: bool = False) -> None:
        """Store what waits; what cannot be stored goes on waiting, and ``trouble`` says why.

        Args:
            series: SeriesInstanceUID -> series of the server.
            at_once: without the pause after a failure.
        """
        if not at_once and time.monotonic() < self._not_before:
            return
        self.trouble = ""
        for uid in self.waiting():
            try:
                if uid not in series:
                    raise StudyError(uid, "its label waits, but the series is not on the server any more")
                with self._lock(uid):
                    about = self._about(uid)
                    if about:  # else another process has sent it
                        self._send(series[uid], about)
            except (SemisegError, OSError) as error:
                if str(error) != self.trouble:
                    log.warning("A label waits to be stored. %s", error)
                self.trouble, self._not_before = str(error), time.monotonic() + AGAIN
                if isinstance(error, DicomServerError) and is_away(error):
                    return

    def _send(self, series: Series, about: Mapping[str, Any]) -> None:
        volume, affine = read_volume(self._label(series.uid, about))
        array = volume.astype(np.uint8)
        dataset = self._object(series, array, about)
        self.mirror.web.store(dataset)
        label = replace(LabelObject.read(dataset, dataset), instances=1)
        self.mirror.keep_label(series.uid, array, affine, label_version(label))
        self.mirror.listing.add_label(label)
        remove(self.folder / f"{series.uid}.json")
        self._drop(series.uid, about)
        log.info("The label of series %s is stored as series %s", series.uid, label.uid)

    def _object(self, series: Series, array: NDArray[np.uint8], about: Mapping[str, Any]) -> Dataset:
        file = self._object_file(series.uid, about)
        if file.exists():
            return dcmread(file)
        headers = self.mirror.web.headers(series.study, series.uid)
        facts = {key: about[key] for key in ("version", "creator", "automatic") if about.get(key)}
        dataset = write_segmentation(array, about["names"], headers, **facts, **self.settings)
        with whole_file(file) as draft:
            dataset.save_as(draft)
        return dataset

    def _about(self, series: str) -> dict[str, Any]:
        try:
            about = json.loads((self.folder / f"{series}.json").read_text())
        except FileNotFoundError:
            return {}
        return about | {"names": {int(value): name for value, name in about["names"].items()}}

    def _drop(self, series: str, about: Mapping[str, Any]) -> None:
        """The files of a label that waits no longer."""
        for file in (self._label(series, about), self._object_file(series, about)) if about else ():
            file.unlink(missing_ok=True)

    def _label(self, series: str, about: Mapping[str, Any]) -> Path:
        return self.folder / about.get("file", f"{series}.nii.gz")  # the name an earlier semiseg gave it

    def _object_file(self, series: str, about: Mapping[str, Any]) -> Path:
        label = self._label(series, about)
        return label.with_name(f"{label.name.removesuffix('.nii.gz')}.dcm")

    def _lock(self, series: str) -> FileLock:
        return FileLock(self.folder / f"{series}.lock")
