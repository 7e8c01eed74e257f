"""Preprocessed volumes on disk, memory-mapped, within a byte budget.

An entry is one folder: ``image.npy`` (float16), ``label.npy`` (uint8), ``places.npz`` (some voxels of each class, for
foreground patches) and ``geometry.json``. Its name holds what it was made from, so a changed file or plan simply has
another entry and the old one is evicted in its turn. Reading processes map the files; an entry evicted while mapped
stays readable to them (POSIX).
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from lib.errors import SemisegError, StudyError
from lib.studies.cases import Case
from lib.studies.labels import LabelMap, read_label
from lib.studies.preprocess import Geometry, Preprocess
from lib.studies.series import read_case

log = logging.getLogger(__name__)

PLACES = 4096  # voxels remembered for each class
ABANDONED = 3600.0  # seconds after which a half-written entry belongs to a process that died
OPEN = 64  # volumes a process keeps mapped; each holds a file descriptor or two


@dataclass(frozen=True)
class Volume:
    """A preprocessed case: image ``(C, X, Y, Z)`` float16, label ``(X, Y, Z)`` uint8 or None, both memory-mapped;
    places: class -> ``(n, 3)`` voxels of it. Of several modalities, C is their number, and ``present`` says which
    are there; a missing one is zero."""

    image: np.ndarray
    label: np.ndarray | None
    places: dict[int, np.ndarray]
    geometry: Geometry
    present: tuple[bool, ...] = (True,)


class VolumeCache:
    """Preprocesses a case once and evicts the least recently used beyond the budget.

    Args:
        folder: where the entries lie; shared by trainings, validation and scoring of a project.
        budget: bytes on disk. One volume is always kept, however large.
    """

    def __init__(self, folder: Path, preprocess: Preprocess, labels: LabelMap, budget: float) -> None:
        self.folder, self.preprocess, self.labels, self.budget = folder, preprocess, labels, budget
        self._open: OrderedDict[str, Volume] = OrderedDict()
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, case: Case) -> Volume:
        """The preprocessed case, from disk if it is there.

        Raises:
            StudyError: the image or its label cannot be used.
        """
        name = self._name(case)
        if name not in self._open:
            entry = self.folder / name
            volume = _read(entry)
            if volume is None:
                try:
                    self._make(case, entry)
                except OSError as error:
                    remedy = "free disk space or lower cache_gb"
                    raise SemisegError(f"The cache in {self.folder} cannot be written ({error}); {remedy}") from error
                volume = _read(entry)
                if volume is None:
                    raise StudyError(
                        case.id, "its preprocessed copy vanished while it was read", "Raise cache_gb or free disk space"
                    )
            self._open[name] = volume
            if len(self._open) > OPEN:
                self._open.popitem(last=False)
        self._open.move_to_end(name)
        return self._open[name]

    def _name(self, case: Case) -> str:
        """What the entry depends on; a missing file raises the study's error."""
        try:
            parts = [self.preprocess.plan.key, *(case if case.version else case.usable()).state()]
            if case.label:
                meaning = sorted((case.values or self.labels.values).items())
                parts += [json.dumps(meaning), json.dumps(self.labels.names)]
        except OSError as error:
            raise StudyError(case.id, f"its file is gone ({error})", "Was it moved or deleted?") from error
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]

    def _make(self, case: Case, entry: Path) -> None:
        image, geometry, present = read_case(case, self.preprocess)
        with tempfile.TemporaryDirectory(prefix=".", dir=self.folder) as draft:
            np.save(f"{draft}/image.npy", image.astype(np.float16))
            if case.label:
                label = self.preprocess.label(read_label(case, self.labels, geometry.shape, geometry.affine), geometry)
                np.save(f"{draft}/label.npy", label)
                np.savez(f"{draft}/places.npz", **{str(index): places for index, places in _places(label).items()})
            Path(draft, "geometry.json").write_text(json.dumps(geometry.to_dict() | {"present": present}))
            self._evict(sum(file.stat().st_size for file in Path(draft).iterdir()))
            try:
                os.rename(draft, entry)
            except OSError:  # another process was faster; its copy is the same
                if not entry.is_dir():
                    raise
            else:
                os.mkdir(draft)  # what TemporaryDirectory will remove

    def _evict(self, coming: int) -> None:
        entries = sorted(found for found in map(_used, self.folder.iterdir()) if found)
        total = sum(size for _, size, _ in entries) + coming
        for _, size, item in entries:
            if total <= self.budget:
                return
            _remove(item)
            total -= size


def _remove(item: Path) -> None:
    """Renamed first: nobody must find half an entry."""
    gone = item.with_name(f".{item.name.lstrip('.')}.{os.getpid()}")
    try:
        os.rename(item, gone)
    except FileNotFoundError:
        return  # another process was faster
    shutil.rmtree(gone, ignore_errors=True)


def _used(item: Path) -> tuple[float, int, Path] | None:
    """When an entry was used last and its bytes; None for one that is being written or was just removed."""
    try:
        last = item.stat().st_mtime
        if item.name.startswith(".") and time.time() - last < ABANDONED:
            return None
        return last, sum(file.stat().st_size for file in item.iterdir()), item
    except FileNotFoundError:
        return None


def _read(entry: Path) -> Volume | None:
    """The entry, marked as used; None if it is not (or no longer) there. A damaged one is removed."""
    try:
        os.utime(entry)
        label = np.load(entry / "label.npy", mmap_mode="r") if (entry / "label.npy").exists() else None
        places = {int(key): value for key, value in np.load(entry / "places.npz").items()} if label is not None else {}
        about = json.loads((entry / "geometry.json").read_text())
        image, present = np.load(entry / "image.npy", mmap_mode="r"), tuple(about.get("present", [True]))
        return Volume(image, label, places, Geometry.from_dict(about), present)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, EOFError, OSError, BadZipFile) as error:  # a power cut, a disk that was full
        log.warning("The cached volume %s is damaged (%s) and is made again", entry.name, error)
        _remove(entry)
        return None


def _places(label: np.ndarray) -> dict[int, np.ndarray]:
    """Evenly spread voxels of each class that occurs."""
    found = {}
    for index in range(1, int(label.max()) + 1):
        places = np.argwhere(label == index)
        if len(places):
            found[index] = places[np.linspace(0, len(places) - 1, min(PLACES, len(places))).astype(int)].astype(
                np.int32
            )
    return found
