"""One SQLite file of named JSON values in groups, shared by the server and its trainings.

Each call is one transaction on a connection of its own.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from lib.errors import SemisegError

log = logging.getLogger(__name__)
T = TypeVar("T")

TABLE = "CREATE TABLE IF NOT EXISTS entries (kind TEXT, id TEXT, value TEXT, PRIMARY KEY (kind, id)) WITHOUT ROWID"
WRITE = "INSERT OR REPLACE INTO entries VALUES (?, ?, ?)"
TIMEOUT = 30.0  # seconds to wait for another writer


class ListingFile:
    """Entries ``kind, id -> value``. A damaged file is set aside: what it holds can be asked for again.

    Raises:
        SemisegError: by every method, if the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def get(self, kind: str) -> dict[str, Any]:
        """Id -> value."""
        query = "SELECT id, value FROM entries WHERE kind = ?"
        return {key: json.loads(value) for key, value in self._run(lambda db: db.execute(query, (kind,)).fetchall())}

    def put(self, kind: str, values: Mapping[str, Any]) -> None:
        """Add these entries, or replace them."""
        self.write({kind: values})

    def write(self, groups: Mapping[str, Mapping[str, Any]], only: tuple[str, ...] = ()) -> None:
        """Entries of several kinds in one step.

        Args:
            only: kinds whose other entries are dropped.
        """

        def work(db: sqlite3.Connection) -> None:
            for kind in only:
                db.execute("DELETE FROM entries WHERE kind = ?", (kind,))
            for kind, values in groups.items():
                db.executemany(WRITE, [(kind, key, json.dumps(value)) for key, value in values.items()])
            changed = {*groups, *only}
            db.executemany(WRITE, [("written", kind, json.dumps(time.time_ns())) for kind in changed])

        self._run(work)

    def written(self) -> dict[str, int]:
        """Kind -> another number after each change by any process."""
        return self.get("written")

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            try:
                return self._attempt(work)
            except sqlite3.DatabaseError as error:
                if error.sqlite_errorcode not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                    raise
                aside = self.path.with_name(f"{self.path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
                self.path.replace(aside)
                log.error("The listing was damaged and is now %s: the server is asked for everything anew", aside.name)
                return self._attempt(work)
        except (sqlite3.Error, OSError) as error:
            remedy = "check the folder's rights and the free space; the file may be deleted"
            raise SemisegError(f"The listing in '{self.path}' cannot be read or written ({error}); {remedy}") from error

    def _attempt(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with closing(sqlite3.connect(self.path, timeout=TIMEOUT)) as db, db:
            db.execute(TABLE)
            return work(db)
