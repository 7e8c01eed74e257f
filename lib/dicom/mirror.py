"""A studies folder that fills on demand from a DICOM server, so that everything else keeps working on files.

``<name>.nii`` are the series, ``labels/final/<SeriesInstanceUID>.nii.gz`` their labels, ``labels/<tag>/`` what clients
keep here under other tags. A file appears whole or not at all, and says itself which state of the server it holds, so
several processes may share the folder. Images are not compressed: that would take longer than the download.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from lib.dicom import volume_file
from lib.dicom.bounded import damage_said, read_file
from lib.dicom.label import DicomLabel, referenced_series
from lib.dicom.listed import LabelObject, Series, made
from lib.dicom.listing import Listing
from lib.dicom.rtstruct import read_rtstruct
from lib.dicom.segmentation_read import read_segmentation
from lib.dicom.series import read_series
from lib.errors import DicomServerError, SemisegError, StudyAwayError, StudyError

log = logging.getLogger(__name__)

LOCKS = 64  # files that keep two from downloading the same series
ABANDONED = 3600.0  # seconds after which a half-written file belongs to a process that died
KEPT = 2  # images that stay, however small the budget: somebody is about to open them


class Mirror:
    """The folder.

    Args:
        budget: bytes of images; the least recently used ones go.
        classes: class name -> value, where the project fixes them; else each label has values of its own.
        codes: the setting of that name.
    """

    def __init__(
        self,
        folder: Path,
        listing: Listing,
        budget: float,
        classes: Mapping[str, int] | None = None,
        codes: tuple[str, ...] = (),
    ) -> None:
        self.folder, self.listing, self.web = folder, listing, listing.web
        self.budget, self.classes, self.codes = budget, dict(classes or {}), codes
        (folder / ".locks").mkdir(parents=True, exist_ok=True)

    def image_file(self, stem: str) -> Path:
        """Where the series of this name lies, or will lie."""
        return self.folder / f"{stem}.nii"

    def label_file(self, series: str, tag: str = "final") -> Path:
        """Where the label of this series lies, or will lie."""
        return self.folder / "labels" / tag / f"{series}.nii.gz"

    def image(self, series: Series, stem: str) -> Path:
        """The file of a series, after it was downloaded if it is not there.

        Raises:
            StudyError: it is not a volume; the listing knows from now on.
            StudyAwayError: it must be downloaded, and the server is away.
            SemisegError: it cannot be written.
        """
        file, version = self.image_file(stem), image_version(series)
        with self._alone(file, series.uid):
            if volume_file.about(file).get("version") != version:
                self._download_image(series, file, version)
            _touch(file)
        return file

    def label(self, label: LabelObject, series: Series, stem: str) -> Path:
        """The file of a label on the grid of its series, after it was downloaded if it is not there.

        Raises:
            StudyError: it cannot be read, or lies elsewhere than the series; the listing knows from now on.
            StudyAwayError, SemisegError: as of an image.
        """
        file, version = self.label_file(series.uid), label_version(label)
        if volume_file.about(file).get("version") == version:
            return file
        image = self.image(series, stem)
        with self._alone(file, series.uid):
            if volume_file.about(file).get("version") != version:
                self._download_label(label, series, image, file)
        return file

    def keep_label(self, series: str, array: NDArray[np.uint8], affine: NDArray, version: str) -> None:
        """A label ``(X, Y, Z)`` that was taken or stored just now, so that nobody needs to download it."""
        file = self.label_file(series)
        with self._alone(file, series):
            volume_file.save(file, array, affine, version=version)

    def names(self, label: LabelObject) -> dict[int, str]:
        """Value -> class name in the file of a label; none of a label that is refused for its classes."""
        try:
            return label.names(self.classes, self.codes if label.modality == "SEG" else ())
        except StudyError as error:
            self.listing.judge(label, str(error))
            return {}

    def here(self, series: Series, stem: str) -> bool:
        """Is the series at hand, without the server?"""
        return volume_file.about(self.image_file(stem)).get("version") == image_version(series)

    def _download_image(self, series: Series, file: Path, version: str) -> None:
        with self._draft() as draft:
            files = self.web.download(series.study, series.uid, draft)
            self._check_count(series, len(files))
            try:
                found = read_series(files)
            except StudyError as error:
                self.listing.judge(series, str(error))
                raise
            for note in found.notes:
                log.info("Series %s: %s", series.uid, note)
            self._evict(found.array.nbytes)
            frame = str(found.headers[0].get("FrameOfReferenceUID") or "")
            volume_file.save(file, found.array, found.affine, version=version, frame=frame)
        self.listing.judge(series, "")

    def _download_label(self, label: LabelObject, series: Series, image: Path, file: Path) -> None:
        shape, affine = volume_file.grid(image)
        with self._draft() as draft:
            files = self.web.download(label.study, label.uid, draft)
            self._check_count(label, len(files))
            try:
                found = self._read_label(label, series, image, files)
            except StudyError as error:
                self.listing.judge(label, str(error))
                raise
        for note in found.notes:
            log.info("Series %s: %s", label.uid, note)
        array = _renumbered(found, self.names(label), series.uid)
        volume_file.save(file, array, affine, version=label_version(label))
        log.info("Label of series %s: %d voxels of shape %s", series.uid, np.count_nonzero(array), shape)

    def _read_label(self, label: LabelObject, series: Series, image: Path, files: list[Path]) -> DicomLabel:
        datasets = [dataset for dataset in map(_read, files) if referenced_series(dataset) == series.uid]
        if not datasets:
            raise StudyError(series.uid, f"its {label.modality} in the series {label.uid} refers to another series now")
        newest = max(datasets, key=made)
        grid, frame = volume_file.grid(image), volume_file.about(image).get("frame", "")
        if label.modality == "RTSTRUCT":
            return read_rtstruct(newest, *grid, series=series.uid, frame_of_reference=frame, values=self.classes)
        return read_segmentation(
            newest, *grid, series=series.uid, frame_of_reference=frame, values=self.classes, codes=self.codes
        )

    def _check_count(self, series: Series | LabelObject, count: int) -> None:
        if count < series.instances:
            raise DicomServerError(
                f"The DICOM server at {self.web.url} sent {count} of the {series.instances} instances of series "
                f"{series.uid}; is it still receiving them?"
            )

    @contextmanager
    def _alone(self, file: Path, study: str) -> Iterator[None]:
        """No other thread or process fetches this file; failures in the block name the study."""
        lock = int(hashlib.sha256(file.name.encode()).hexdigest(), 16) % LOCKS
        kind = "image" if file.parent == self.folder else "label"
        try:
            with FileLock(self.folder / ".locks" / f"{kind}-{lock:02d}"):
                yield
        except DicomServerError as error:
            raise StudyAwayError(study, f"it is not at hand. {str(error).rstrip('.')}") from error
        except OSError as error:
            remedy = "free disk space or lower mirror_gb"
            raise SemisegError(f"The mirror in {self.folder} cannot be written ({error}); {remedy}") from error

    @contextmanager
    def _draft(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix=".part-", dir=self.folder) as draft:
            yield Path(draft)

    def _evict(self, coming: int) -> None:
        """Make room. A file that is open stays readable to whoever has opened it (POSIX)."""
        for item in self.folder.glob(".part-*"):
            if time.time() - item.stat().st_mtime > ABANDONED:
                shutil.rmtree(item, ignore_errors=True)
        images = sorted(self.folder.glob("*.nii"), key=lambda file: file.stat().st_atime_ns)
        total = coming + sum(file.stat().st_size for file in images)
        for file in images[: max(0, len(images) - KEPT)]:
            if total > self.budget:
                total -= file.stat().st_size
                file.unlink(missing_ok=True)


def image_version(series: Series) -> str:
    """Another text when the series has other instances."""
    return f"{series.uid} of {series.instances}"


def label_version(label: LabelObject) -> str:
    """Another text for another label."""
    return f"{label.uid} of {label.instances}"


def _touch(file: Path) -> None:
    """Used now. Disks are often mounted without access times; the time of change belongs to the content."""
    os.utime(file, ns=(time.time_ns(), file.stat().st_mtime_ns))


def _renumbered(found: DicomLabel, names: Mapping[int, str], series: str) -> NDArray[np.uint8]:
    """The label with the values that the listing has told for its classes."""
    if found.names == names:
        return found.array
    values = {name: value for value, name in names.items()}
    table = np.zeros(256, dtype=np.uint8)
    for value, name in found.names.items():
        if name not in values:
            raise StudyError(series, f"its label holds the class '{name}', which its header does not name")
        table[value] = values[name]
    return table[found.array]


_read = damage_said(read_file)
