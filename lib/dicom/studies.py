"""A DICOM server as the studies of a project: listing, mirror, outbox and the check of headers, working together."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lib.config import Config
from lib.dicom.header_check import HeaderCheck
from lib.dicom.listed import Series
from lib.dicom.listing import Listed, Listing
from lib.dicom.mirror import Mirror, image_version, label_version
from lib.dicom.outbox import Outbox
from lib.dicom.patients import modalities_of, stems
from lib.dicom.web import DicomWeb
from lib.errors import DicomServerError, StudyError
from lib.studies.cases import Case
from lib.studies.label_history import Kept


class DicomStudies:
    """The series of one DICOMweb server.

    Args:
        folder: of the mirror; ``listing.sqlite`` lies in it too.
        watch: check the headers of new series in the background, so that what is no volume is not offered.
    """

    def __init__(self, web: DicomWeb, config: Config, folder: Path, watch: bool = False) -> None:
        for noisy in ("dicomweb_client", "highdicom"):  # a line for each request and each copied attribute
            logging.getLogger(noisy).setLevel(logging.WARNING)
        folder.mkdir(parents=True, exist_ok=True)
        self.web, self.modalities = web, config.modalities
        self.listing = Listing(web, folder / "listing.sqlite", modalities_of(config), bool(config.modalities))
        self.mirror = Mirror(folder, self.listing, config.mirror_gb * 1e9, config.label_values, config.codes)
        self.outbox = Outbox(self.mirror, codes=config.codes, colours=config.colours)
        self._check = HeaderCheck(self.listing) if watch else None
        self._named: tuple[Listed, dict[str, str]] = (Listed(), {})

    @property
    def trouble(self) -> str:
        """Why the server could not be asked; empty if it could."""
        return self.listing.trouble

    def now(self) -> Listed:
        """What is there now. Labels that wait to be stored are stored, if that is possible again."""
        listed = self.listing.refresh()
        if not self.trouble and self.outbox.waiting():
            self.outbox.send(listed.series)
            listed = self.listing.known()
        if self._check and listed.unchecked and not self.trouble:
            self._check.begin()
            listed = self.listing.known()
        return listed

    def known(self) -> Listed:
        """What was there at the last look."""
        return self.listing.known()

    def labelled(self) -> set[str]:
        """The series with a label, also one that waits to be stored, as of the last look."""
        listed = self.known()
        return {*listed.labels, *self.outbox.waiting()} & listed.series.keys()

    def find(self, uid: str) -> Series | None:
        """The series of this id; None if there is none.

        Raises:
            StudyError: it is refused.
            DicomServerError: it is not known, and the server cannot be asked.
        """
        listed = self.now()
        if uid in listed.refused:
            raise StudyError(uid, "it is refused. " + listed.refused[uid].partition(": ")[2].rstrip("."))
        if uid not in listed.series and self.trouble:
            raise DicomServerError(self.trouble)
        return listed.series.get(uid)

    def image(self, series: Series) -> Path:
        """The file of a series; raises what :meth:`Mirror.image` raises."""
        return self.mirror.image(series, self.stem(series.uid))

    def label(self, uid: str) -> Path | None:
        """The file of a final label, fetched if it is not at hand; None if there is none."""
        listed = self.now()
        if uid in self.outbox.waiting():
            self.outbox.bring(uid)
            return self.mirror.label_file(uid)
        if uid not in listed.labels:
            return None
        return self.mirror.label(listed.labels[uid], listed.series[uid], self.stem(uid))

    def names(self, uid: str) -> dict[int, str]:
        """Value -> class name in the file of a final label."""
        waiting, label = self.outbox.waiting().get(uid), self.known().labels.get(uid)
        return waiting["names"] if waiting else self.mirror.names(label) if label else {}

    def take(
        self, kept: Kept, array: NDArray[np.uint8], affine: NDArray, names: Mapping[int, str], **about: Any
    ) -> None:
        """Have a label count that the history holds already; :meth:`Outbox.send` then stores it on the server.

        Args:
            array: ``(X, Y, Z)``. affine, names, about: as of :meth:`Outbox.put`.
        """
        self.outbox.put(kept.study, array, affine, names, stamp=kept.stamp, **about)
        self.note(kept)

    def note(self, kept: Kept) -> None:
        """The info of a label that counts now; of a final one its DICOM object says the names of the values."""
        hidden = ("label_info", "names") if kept.tag == "final" else ()
        info = {key: value for key, value in kept.info.items() if key not in hidden}
        self.listing.file.put(f"note {kept.tag}", {kept.study: info})

    def stem(self, uid: str) -> str:
        """Name of a series' file in the mirror, without extension."""
        return self.stems(self.known()).get(uid, uid)

    def stems(self, listed: Listed) -> dict[str, str]:
        """SeriesInstanceUID -> name of its file; the same until the listing changes."""
        if self._named[0] is not listed:
            self._named = listed, stems(listed.series, listed.labels, self.modalities)
        return self._named[1]

    def cases(self) -> list[Case]:
        """All studies, those with a final label with it; files arrive when :meth:`Case.usable` is called."""
        listed = self.now()
        waiting, names = self.outbox.waiting(), self.stems(listed)
        return [self._case(listed, series, names[uid], waiting) for uid, series in listed.series.items()]

    def _case(self, listed: Listed, series: Series, stem: str, waiting: Mapping[str, Any]) -> Case:
        label, here = listed.labels.get(series.uid), not self.trouble or self.mirror.here(series, stem)
        case = Case(
            series.uid, self.mirror.image_file(stem), version=image_version(series), here=here,
            fetch=functools.partial(self._fetch, series, stem, labelled=False),
        )  # fmt: skip
        if series.uid in waiting:
            names, made, version = waiting[series.uid]["names"], float("inf"), waiting[series.uid]["version_here"]
        elif label:
            names, made = self.mirror.names(label), float(re.sub(r"\D", "", label.made)[:14] or 0)
            version = label_version(label)
        else:
            return case
        fetch = functools.partial(self._fetch, series, stem, labelled=True)
        file = self.mirror.label_file(series.uid)
        return replace(case, label=file, values=names, fetch=fetch, label_version=version, labelled_at=made)

    def _fetch(self, series: Series, stem: str, labelled: bool) -> None:
        self.mirror.image(series, stem)
        if not labelled:
            return
        if series.uid in self.outbox.waiting():
            self.outbox.bring(series.uid)
            return
        label = self.known().labels.get(series.uid)
        if label is None:
            raise StudyError(series.uid, "its label is gone or was refused")
        self.mirror.label(label, series, stem)
