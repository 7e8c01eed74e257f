"""The folder of one project: its live model, the versions to go back to, its runs."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from lib.config import Config
from lib.errors import NotFoundError, NotReadyError
from lib.inference.model_file import Model
from lib.studies.split import Split

ROOT = Path(__file__).resolve().parents[2]


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
        with (self.path / f"{task}.lock").open("a+") as file:
            if not _locked(file):
                file.seek(0)
                holder = file.read().strip()
                raise NotReadyError(f"A {task} of this project is under way already ({holder}); stop it or wait")
            file.truncate(0)
            file.write(f"process {os.getpid()} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
            file.flush()
            yield

    def versions(self) -> list[str]:
        """The kept versions, oldest first."""
        return sorted(path.stem for path in (self.path / "versions").glob("[0-9]*.pt"))

    def publish(self, model: Model, keep: int) -> str:
        """Make this the live model and keep it under a new version number; the oldest beyond ``keep`` go.

        Readers of ``live.pt`` find the old file or the new one, whole, at every moment.
        """
        number = self.path / "versions" / "last"
        latest = max(
            [int(number.read_text())] if number.is_file() else [0], [int(name) for name in self.versions()[-1:]]
        )[0]
        version = f"{latest + 1:04d}"
        number.parent.mkdir(parents=True, exist_ok=True)
        number.write_text(version)  # versions that have gone are never numbered again
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
        draft = self.path / f".live.{os.getpid()}"
        shutil.copyfile(self._version(version), draft)
        with draft.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(draft, self.path / "live.pt")


def _locked(file: IO[str]) -> bool:
    """Try for a second: whoever only asks whether the lock is taken holds it for an instant."""
    for _ in range(10):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.1)
    return False
