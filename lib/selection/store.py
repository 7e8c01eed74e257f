"""The scores of the studies in one SQLite file, so that choosing the next study is a look-up.

A row belongs to an image and to the model that scored it, by checksum: a new model starts with no scores, a model
that was rolled back finds its own again. Several processes may read and write; each call opens its own connection.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock

from lib.errors import SemisegError

logger = logging.getLogger(__name__)
T = TypeVar("T")

VERSION = 1  # of the tables; kept in SQLite's user_version
TIMEOUT = 30.0  # seconds to wait for another writer
TABLES = """
CREATE TABLE scores (
    model TEXT NOT NULL, id TEXT NOT NULL, score REAL, cause TEXT, fields TEXT NOT NULL, seconds REAL NOT NULL,
    at REAL NOT NULL, PRIMARY KEY (model, id), CHECK ((score IS NULL) <> (cause IS NULL))
) WITHOUT ROWID;
CREATE INDEX failures ON scores (model, id) WHERE cause IS NOT NULL;
"""
DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


@dataclass(frozen=True)
class Row:
    """One scoring: ``score``, or None and the ``cause`` of the failure; ``seconds`` it took, ``when`` it ended."""

    score: float | None
    cause: str | None
    fields: dict[str, Any]
    seconds: float
    when: float  # seconds since 1970


class ScoreStore:
    """Scores by image id and model checksum in the file ``path``, which is made if it does not exist.

    A damaged file is set aside under another name and an empty one takes its place, with a warning in the log: scores
    can always be computed again.

    Raises:
        SemisegError: by every method, if the file is of a later version of semiseg, or cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._run(lambda connection: None)

    def put(self, image: str, model: str, score: float, fields: Mapping[str, Any], seconds: float) -> None:
        """Write a score (and what it was made of, as JSON); an earlier one of the same image and model is replaced."""
        self._write(image, model, score, None, fields, seconds)

    def put_failure(self, image: str, model: str, cause: str, seconds: float) -> None:
        """Write why this model cannot score this image, so that it is not tried again and again."""
        self._write(image, model, None, cause, {}, seconds)

    def get(self, model: str) -> dict[str, float]:
        """Image id -> score, of every image this model scored."""
        query = "SELECT id, score FROM scores WHERE model = ? AND score IS NOT NULL"
        return dict(self._run(lambda connection: connection.execute(query, (model,)).fetchall()))

    def failures(self, model: str) -> dict[str, str]:
        """Image id -> cause, of every image this model could not score."""
        query = "SELECT id, cause FROM scores WHERE model = ? AND cause IS NOT NULL"
        return dict(self._run(lambda connection: connection.execute(query, (model,)).fetchall()))

    def row(self, image: str, model: str) -> Row | None:
        """All that is known of one scoring, None if there was none."""
        query = "SELECT score, cause, fields, seconds, at FROM scores WHERE model = ? AND id = ?"
        found = self._run(lambda connection: connection.execute(query, (model, image)).fetchone())
        return Row(found[0], found[1], json.loads(found[2]), found[3], found[4]) if found else None

    def missing(self, images: Iterable[str], model: str) -> list[str]:
        """Those of ``images``, in their order, that this model has not tried."""
        query = "SELECT id FROM scores WHERE model = ?"
        tried = {found[0] for found in self._run(lambda connection: connection.execute(query, (model,)).fetchall())}
        return [image for image in images if image not in tried]

    def forget(self, images: Iterable[str]) -> None:
        """Drop all that is known of images that were deleted or replaced, under every model."""
        rows = [(image,) for image in images]
        self._run(lambda connection: connection.executemany("DELETE FROM scores WHERE id = ?", rows))

    def _write(self, image: str, model: str, score: float | None, cause: str | None, fields: Mapping[str, Any],
               seconds: float) -> None:  # fmt: skip
        row = (model, image, score, cause, json.dumps(dict(fields)), seconds, time.time())
        query = "INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?, ?, ?, ?)"
        self._run(lambda connection: connection.execute(query, row))

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """``work`` in one transaction on a fresh connection; once more after a damaged file was set aside."""
        try:
            try:
                return self._attempt(work)
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                self._set_aside()
                return self._attempt(work)
        except (sqlite3.Error, OSError) as error:
            raise SemisegError(
                f"The scores in '{self.path}' cannot be read or written: {error}. Check the folder's rights and the "
                "free space; the file can be deleted, the scores are then computed again after the next training."
            ) from error

    def _attempt(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with closing(self._connect()) as connection, connection:
            return work(connection)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=TIMEOUT)
        try:
            if _version(connection) != VERSION:
                self._prepare(connection)
            connection.execute("PRAGMA synchronous = NORMAL")  # with WAL: a power cut costs the last rows, no more
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Make the tables of a new file, unless another process was faster."""
        with self._lock():
            version = _version(connection)
            if version > VERSION:
                raise SemisegError(
                    f"The scores in '{self.path}' were written by a later semiseg (version {version} of the store, "
                    f"this one knows {VERSION}). Use that one, or move the file away to compute the scores again."
                )
            if version < VERSION:
                connection.execute("PRAGMA journal_mode = WAL")  # readers never wait for the writer
                connection.executescript(f"BEGIN; {TABLES} PRAGMA user_version = {VERSION}; COMMIT;")

    def _set_aside(self) -> None:
        """Rename the damaged file with its journals, unless another process has done so already."""
        with self._lock():
            try:
                with closing(sqlite3.connect(self.path, timeout=TIMEOUT)) as connection:
                    damage = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                damage = str(error)
            if damage == "ok":
                return
            aside = self.path.with_name(f"{self.path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
            for ending in ("-wal", "-shm", ""):  # a journal left behind would be played into the new file
                source = self.path.with_name(self.path.name + ending)
                if source.exists():
                    source.replace(aside.with_name(aside.name + ending))
        logger.warning(
            "The scores in '%s' were damaged (%s): the file was set aside as '%s' and an empty one made. "
            "The scores are computed again after the next training.", self.path, damage, aside.name,
        )  # fmt: skip

    def _lock(self) -> FileLock:
        return FileLock(self.path.with_name(self.path.name + ".lock"), timeout=TIMEOUT)


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    return error.sqlite_errorcode & 0xFF in DAMAGED
