"""Labels on their way to the DICOM server. One that was taken here is never lost: it waits on disk until it is stored.

A label is ``<SeriesInstanceUID>.nii.gz`` and ``.json``, which is written last. The DICOM object is made once and kept
as ``.dcm``, so that a repeated attempt stores the same object instead of a second one.
"""

from __future__ import annotations

import json
import logging
import os
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
from lib.errors import DicomServerError, SemisegError, StudyError
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
        version = f"taken {time.time()}"
        try:
            self.mirror.keep_label(series, array, affine, version)
            with self._lock(series):
                self._file(series, ".dcm").unlink(missing_ok=True)
                volume_file.save(self._file(series, ".nii.gz"), array, affine)
                draft = self._file(series, ".draft")
                draft.write_text(json.dumps({"names": names, "version_here": version, **about}))
                os.replace(draft, self._file(series, ".json"))
        except (OSError, SemisegError) as error:
            raise SemisegError(f"The label of series {series} cannot be kept ({error}); free disk space") from error

    def waiting(self) -> dict[str, dict[str, Any]]:
        """SeriesInstanceUID -> what is known of its label: ``names`` (value -> class name), ``version_here``..."""
        found = {}
        for file in self.folder.glob("*.json"):
            try:
                about = json.loads(file.read_text())
            except FileNotFoundError:
                continue  # sent in this moment
            found[file.name.removesuffix(".json")] = about | {
                "names": {int(value): name for value, name in about["names"].items()}
            }
        return found

    def send(self, series: Mapping[str, Series], at_once: bool = False) -> None:
        """Store what waits; what cannot be stored goes on waiting, and ``trouble`` says why.

        Args:
            series: SeriesInstanceUID -> series of the server.
            at_once: without the pause after a failure.
        """
        if not at_once and time.monotonic() < self._not_before:
            return
        self.trouble = ""
        for uid, about in self.waiting().items():
            try:
                if uid not in series:
                    raise StudyError(uid, "its label waits, but the series is not on the server any more")
                with self._lock(uid):
                    if self._file(uid, ".json").exists():  # else another process has sent it
                        self._send(series[uid], about)
            except (SemisegError, OSError) as error:
                if str(error) != self.trouble:
                    log.warning("A label waits to be stored. %s", error)
                self.trouble, self._not_before = str(error), time.monotonic() + AGAIN
                if isinstance(error, DicomServerError) and is_away(error):
                    return

    def _send(self, series: Series, about: Mapping[str, Any]) -> None:
        volume, affine = read_volume(self._file(series.uid, ".nii.gz"))
        array = volume.astype(np.uint8)
        dataset = self._object(series, array, about)
        self.mirror.web.store(dataset)
        label = replace(LabelObject.read(dataset, dataset), instances=1)
        self.mirror.keep_label(series.uid, array, affine, label_version(label))
        self.mirror.listing.add_label(label)
        for ending in (".json", ".dcm", ".nii.gz"):
            self._file(series.uid, ending).unlink(missing_ok=True)
        log.info("The label of series %s is stored as series %s", series.uid, label.uid)

    def _object(self, series: Series, array: NDArray[np.uint8], about: Mapping[str, Any]) -> Dataset:
        file = self._file(series.uid, ".dcm")
        if file.exists():
            return dcmread(file)
        headers = self.mirror.web.headers(series.study, series.uid)
        facts = {key: about[key] for key in ("version", "creator", "automatic") if about.get(key)}
        dataset = write_segmentation(array, about["names"], headers, **facts, **self.settings)
        draft = self._file(series.uid, ".draft")
        dataset.save_as(draft)
        os.replace(draft, file)
        return dataset

    def _lock(self, series: str) -> FileLock:
        return FileLock(self._file(series, ".lock"))

    def _file(self, series: str, ending: str) -> Path:
        return self.folder / f"{series}{ending}"
