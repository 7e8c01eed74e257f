"""The audit log: who did what to labels, studies, trainings and models; a line of JSON each, only ever appended.

Patients are not named in it: a study is known by its id, on a DICOM server its SeriesInstanceUID.
"""

from __future__ import annotations

import fcntl
import getpass
import json
import logging
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

SIZE = 10 * 2**20  # bytes of a file; full ones are numbered and stay
TAIL = 2**16  # bytes
LONGEST = 200  # characters of a value: an id that a client makes up must not fill the disk
NOBODY = "-"


class AuditLog:
    """The log of one project, written by several threads and processes.

    Args:
        folder: the model folder.
        size: bytes after which a new file begins.
    """

    def __init__(self, folder: Path, size: int = SIZE) -> None:
        self.file, self.size = folder / "audit.jsonl", size
        self._lock = threading.Lock()

    def write(self, what: str, who: str = NOBODY, origin: str = NOBODY, **more: Any) -> None:
        """Append an entry, on the disk when this returns.

        What has happened cannot be undone by a full disk: then the entry goes into the server's log as an error.

        Args:
            origin: address of the client, or what else did it.
            more: ``study`` and the like; None is left out.
        """
        when = datetime.now(UTC).isoformat(timespec="milliseconds")
        values = {"when": when, "who": who, "from": origin, "what": what, **more}
        entry = {key: str(value)[:LONGEST] for key, value in values.items() if value is not None}
        try:
            self._append(json.dumps(entry) + "\n")
        except OSError as error:
            logger.error("The audit log %s cannot be written (%s): %s", self.file, error, entry)

    def entries(self, last: int = 0) -> list[dict[str, str]]:
        """The entries, oldest first; of all files, or only the last so many. A line that a power cut left is none."""
        numbered = sorted(self.file.parent.glob("audit.*.jsonl"), key=lambda file: int(file.name.split(".")[1]))
        lines = (line for file in [*numbered, self.file] if file.exists() for line in _lines(file))
        return list(deque(lines, maxlen=last or None))

    def recent(self, most: int) -> list[dict[str, str]]:
        """The newest entries that the last 64 KiB of the current file hold, oldest first; only these are read."""
        try:
            with self.file.open("rb") as file:
                start = max(0, file.seek(0, os.SEEK_END) - TAIL)
                file.seek(start)
                lines = file.read().splitlines()
        except FileNotFoundError:
            return []
        return list(_parsed(self.file, lines[1 if start else 0 :]))[-most:]

    def _append(self, line: str) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self._lock, (self.file.parent / ".audit.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self.file.exists() and self.file.stat().st_size >= self.size:
                full = [int(file.name.split(".")[1]) for file in self.file.parent.glob("audit.*.jsonl")]
                self.file.rename(self.file.with_name(f"audit.{max(full, default=0) + 1}.jsonl"))
            with os.fdopen(os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "r+b", 0) as file:
                length = file.seek(0, os.SEEK_END)
                file.seek(max(length - 1, 0))
                whole = file.read(1) in (b"", b"\n")  # else a power cut left half a line
                file.write(line.encode() if whole else f"\n{line}".encode())
                os.fsync(file.fileno())


def operator() -> str:
    """Who works at the command line."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return str(os.getuid())


def _lines(file: Path) -> Iterator[dict[str, str]]:
    yield from _parsed(file, file.read_bytes().splitlines())


def _parsed(file: Path, lines: Iterable[bytes]) -> Iterator[dict[str, str]]:
    for line in lines:
        try:
            yield json.loads(line)
        except ValueError:
            logger.warning("A line of the audit log %s is damaged", file)
