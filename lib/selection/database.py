"""The SQLite file of the selection: made, upgraded, and replaced when it is damaged.

Several processes may read and write; each piece of work opens its own connection and is one transaction.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from filelock import FileLock

from lib.errors import SemisegError

logger = logging.getLogger(__name__)
T = TypeVar("T")

VERSION = 2  # of the tables; kept in SQLite's user_version
TIMEOUT = 30.0  # seconds to wait for another writer

# Numbers only grow (AUTOINCREMENT), so that a reader finds what is new since it last looked. foreground is in mm^3,
# NULL where it is not known. Every image a model has looked at has a row of embeddings, with a vector of length 0 if
# there is none, and with the state of the image's files then.
TABLES = """
CREATE TABLE scores (
    number INTEGER PRIMARY KEY AUTOINCREMENT, model TEXT NOT NULL, id TEXT NOT NULL, score REAL, cause TEXT,
    fields TEXT NOT NULL, seconds REAL NOT NULL, at REAL NOT NULL, foreground REAL,
    UNIQUE (model, id), CHECK ((score IS NULL) <> (cause IS NULL))
);
CREATE TABLE embeddings (
    number INTEGER PRIMARY KEY AUTOINCREMENT, model TEXT NOT NULL, id TEXT NOT NULL, vector BLOB NOT NULL,
    state TEXT, UNIQUE (model, id)
);
CREATE TABLE leases (id TEXT PRIMARY KEY, client TEXT NOT NULL, until REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE skips (id TEXT NOT NULL, client TEXT NOT NULL, PRIMARY KEY (id, client)) WITHOUT ROWID;
"""
FROM_1 = f"""
ALTER TABLE scores RENAME TO old;
DROP INDEX failures;
{TABLES}
INSERT INTO scores (model, id, score, cause, fields, seconds, at, foreground)
    SELECT model, id, score, cause, fields, seconds, at,
        CASE WHEN json_extract(fields, '$.region') = 'top' THEN 0 END FROM old;
DROP TABLE old;
"""
UPGRADES = {0: TABLES, 1: FROM_1}  # from the version a file has to VERSION
DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class Database:
    """The file ``path``, which is made if it does not exist.

    A damaged file is set aside under another name and an empty one takes its place, with a warning in the log: scores
    can always be computed again, and open studies are offered again.

    One connection stays open, unused, as long as the object lives.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._idle: sqlite3.Connection | None = None

    def run(self, work: Callable[[sqlite3.Connection], T], alone: bool = False) -> T:
        """``work`` in one transaction on a fresh connection; once more after a damaged file was set aside.

        Args:
            alone: no other may write from before the first reading on (``BEGIN IMMEDIATE``).

        Raises:
            SemisegError: the file is of a later version of semiseg, or cannot be read or written.
        """
        try:
            try:
                return self._attempt(work, alone)
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                self._set_aside()
                return self._attempt(work, alone)
        except (sqlite3.Error, OSError) as error:
            raise SemisegError(
                f"The scores in '{self.path}' cannot be read or written: {error}. Check the folder's rights and the "
                "free space; the file can be deleted, the scores are then computed again after the next training."
            ) from error

    def _attempt(self, work: Callable[[sqlite3.Connection], T], alone: bool) -> T:
        if self._idle is None:  # the last connection to close would each time write the journal back, which takes 5 ms
            self._idle = self._connect()
        with closing(self._connect()) as connection, connection:
            if alone:
                connection.execute("BEGIN IMMEDIATE")
            return work(connection)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=TIMEOUT, check_same_thread=False)
        try:
            if _version(connection) != VERSION:
                self._prepare(connection)
            connection.execute("PRAGMA synchronous = NORMAL")  # with WAL: a power cut costs the last rows, no more
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Make the tables of a new file, or bring those of an earlier one up to date, unless another process did."""
        with self._lock():
            version = _version(connection)
            if version > VERSION:
                raise SemisegError(
                    f"The scores in '{self.path}' were written by a later semiseg (version {version} of the store, "
                    f"this one knows {VERSION}). Use that one, or move the file away to compute the scores again."
                )
            if version < VERSION:
                connection.execute("PRAGMA journal_mode = WAL")  # readers never wait for the writer
                connection.executescript(
                    f"BEGIN IMMEDIATE; {UPGRADES[version]} PRAGMA user_version = {VERSION}; COMMIT;"
                )

    def _set_aside(self) -> None:
        """Rename the damaged file with its journals, unless another process has done so already."""
        self._idle = None
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
            "The scores in '%s' were damaged (%s): the file was set aside as '%s' and an empty one made. The scores "
            "are computed again after the next training; studies that readers had open or skipped are offered again.",
            self.path, damage, aside.name,
        )  # fmt: skip

    def _lock(self) -> FileLock:
        return FileLock(self.path.with_name(self.path.name + ".lock"), timeout=TIMEOUT)


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    return error.sqlite_errorcode & 0xFF in DAMAGED
