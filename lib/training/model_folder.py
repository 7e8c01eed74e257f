"""The folder of one project: its live model, the versions to go back to, its runs."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import psutil

from lib.config import Config
from lib.errors import NotFoundError, NotReadyError
from lib.files import full_disk_said, remove_drafts, whole_file, write_whole
from lib.inference.model_file import Model
from lib.studies.split import Split

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = "manifest.json"  # of a run
_held: set[IO[str]] = set()  # the locks of this process


def _leave_locks() -> None:
    """A forked helper shares its parent's locks, and would hold them on when the parent has been killed."""
    while _held:
        _held.pop().close()


os.register_at_fork(after_in_child=_leave_locks)


class ModelFolder:
    """Where a project keeps what it has learnt; see ``docs/explanation/architecture.md`` for the files."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    @classmethod
    def of(cls, config: Config, studies: Path | str) -> ModelFolder:
        """The folder that the settings name, else one that belongs to these studies alone."""
        if config.model:
            return cls(config.model)
        place = str(studies) if "://" in str(studies) else str(Path(studies).resolve())
        return cls(ROOT / "model" / f"{Path(place).name}-{hashlib.sha256(place.encode()).hexdigest()[:8]}")

    @property
    def live(self) -> Path | None:
        """The model that is served, if there is one."""
        path = self.path / "live.pt"
        return path if path.is_file() else None

    @property
    def runs(self) -> Path:
        """One folder a training."""
        return self.path / "runs"

    @property
    def manifests(self) -> list[Path]:
        """What each training says of itself, the first one first."""
        return sorted(self.runs.glob(f"*/{MANIFEST}"))

    @property
    def cache(self) -> Path:
        """The preprocessed volumes."""
        return self.path / "cache"

    @property
    def mirror(self) -> Path:
        """The series of a DICOM server that are at hand, and the labels that wait to be stored there."""
        return self.path / "mirror"

    @property
    def encoders(self) -> Path:
        """What stages before a training have learnt."""
        return self.path / "encoders"

    @property
    def scores(self) -> Path:
        """The score store."""
        return self.path / "scores.sqlite"

    @property
    def split(self) -> Split:
        """The written sides of the studies."""
        return Split(self.path / "split.json")

    @contextmanager
    def lock(self, task: str, wanted: bool = True) -> Iterator[None]:
        """Hold the project for this task; the system lets go when the process dies, however it does.

        Raises:
            NotReadyError: another process holds it.
        """
        if not wanted:
            yield
            return
        self.path.mkdir(parents=True, exist_ok=True)
        with self._lock_file(task).open("a+") as file:
            if not _locked(file):
                about = self._holder(task)
                known = f"process {about['pid']} since {about['since']}" if about else "another process"
                raise NotReadyError(f"A {task} of this project is under way already ({known}); stop it or wait")
            own = psutil.Process()
            about = {"pid": own.pid, "started": own.create_time(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
            file.truncate(0)
            file.write(json.dumps(about))
            file.flush()
            _held.add(file)
            try:
                yield
            finally:
                _held.discard(file)

    def locked(self, task: str) -> bool:
        """Whether a process holds the project for this task. Asking takes the lock for an instant."""
        try:
            with self._lock_file(task).open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return False
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True

    def holder(self, task: str) -> psutil.Process | None:
        """The process that holds the project for this task, on this machine; None if none does.

        Its number alone does not tell: the system gives it to another process some time. The time of its start does.
        """
        about = self._holder(task)
        if not about or not self.locked(task):
            return None
        try:
            process = psutil.Process(about["pid"])
            return process if abs(process.create_time() - about["started"]) < 1 else None
        except psutil.NoSuchProcess:
            return None

    def versions(self) -> list[str]:
        """The kept versions, oldest first."""
        return sorted(path.stem for path in (self.path / "versions").glob("[0-9]*.pt"))

    def publish(self, model: Model, keep: int) -> str:
        """Make this the live model and keep it under a new version number; the oldest beyond ``keep`` go.

        Readers of ``live.pt`` find the old file or the new one, whole, at every moment.
        """
        with full_disk_said("The model was not published and the live one stays as it was"):
            number = self.path / "versions" / "last"
            number.parent.mkdir(parents=True, exist_ok=True)
            remove_drafts(number.parent)
            latest = max([0, *(int(text) for text in [_text(number), *self.versions()] if text.isdigit())])
            version = f"{latest + 1:04d}"
            write_whole(number, version)  # versions that have gone are never numbered again
            model.renamed(version).save(self._version(version))
            self._go_live(version)
        for old in self.versions()[:-keep]:
            self._version(old).unlink(missing_ok=True)
        return version

    def restore(self, version: str) -> None:
        """Make a kept version the live one again.

        Raises:
            NotFoundError: it is not kept.
            SemisegError: its file is damaged.
        """
        if version not in self.versions():
            raise NotFoundError(f"Version '{version}' is not kept; there are: {', '.join(self.versions()) or 'none'}")
        Model.load(self._version(version))
        self._go_live(version)

    def _version(self, version: str) -> Path:
        return self.path / "versions" / f"{version}.pt"

    def _go_live(self, version: str) -> None:
        with whole_file(self.path / "live.pt") as draft:
            shutil.copyfile(self._version(version), draft)

    def _lock_file(self, task: str) -> Path:
        return self.path / f"{task}.lock"

    def _holder(self, task: str) -> dict[str, Any]:
        try:
            about = json.loads(_text(self._lock_file(task)))
            return about if {"pid", "started", "since"} <= about.keys() else {}
        except (ValueError, AttributeError):
            return {}


def _text(file: Path) -> str:
    """Empty if there is no such file."""
    try:
        return file.read_text().strip()
    except FileNotFoundError:
        return ""


def _locked(file: IO[str]) -> bool:
    """Try for a second: whoever only asks whether the lock is taken holds it for an instant."""
    for _ in range(10):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.1)
    return False
