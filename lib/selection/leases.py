"""Who has which study open, and who skipped which: rules over threads and processes, kept in the store's file.

A lease is a promise for a while: until it ends no other reader is offered the study. It ends by itself, so that a
reader who closed the laptop does not keep a study for ever.
"""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass

from lib.errors import ConfigError, NotReadyError
from lib.selection.database import Database


@dataclass(frozen=True)
class Lease:
    """``study`` is open with ``client`` until this time, in seconds since 1970."""

    study: str
    client: str
    until: float


@dataclass(frozen=True)
class Taken:
    """What one reader is not to be offered: ``leased`` to others, ``skipped`` by this one."""

    leased: frozenset[str]
    skipped: frozenset[str]


class Leases:
    """Leases and skips of all readers.

    Args:
        now: seconds since 1970.

    Raises:
        ConfigError: by every method that takes a client: it has no name. SemisegError: see :class:`Database`.
    """

    def __init__(self, database: Database, now: Callable[[], float] = time.time) -> None:
        self.database, self.now = database, now

    def lease(self, study: str, client: str, minutes: float) -> Lease:
        """Open a study for a reader, or once more if this reader has it open.

        Raises:
            NotReadyError: it is open with another reader.
            ConfigError: minutes is no positive number.
        """

        def pick(taken: Taken) -> str:
            if study in taken.leased:
                raise NotReadyError(
                    f"Study '{study}' is open with another reader; ask for the next one, or have it released"
                )
            return study

        found = self.lease_one(pick, client, minutes)
        assert found is not None
        return found

    def lease_one(self, pick: Callable[[Taken], str | None], client: str, minutes: float) -> Lease | None:
        """Open the study that ``pick`` names, knowing what is taken; nobody else can take one in between.

        Args:
            pick: may read the store, but not write to it; None: no study.
        """
        _named(client)
        if not (math.isfinite(minutes) and minutes > 0):
            raise ConfigError(f"A lease of {minutes} minutes does not exist; give a number above 0")

        def work(connection: sqlite3.Connection) -> Lease | None:
            connection.execute("DELETE FROM leases WHERE until <= ?", (self.now(),))
            study = pick(_taken(connection, client, self.now()))
            if study is None:
                return None
            lease = Lease(study, client, self.now() + 60 * minutes)
            connection.execute("INSERT OR REPLACE INTO leases VALUES (?, ?, ?)", (study, client, lease.until))
            return lease

        return self.database.run(work, alone=True)

    def release(self, study: str, client: str | None = None) -> bool:
        """Give a study back, of this reader or (None) of whoever has it; false if there was nothing to give back."""
        query = "DELETE FROM leases WHERE id = ? AND until > ? AND client = coalesce(?, client)"
        values = (study, self.now(), client)
        return self.database.run(lambda connection: connection.execute(query, values).rowcount > 0)

    def skip(self, study: str, client: str) -> None:
        """Never offer this study to this reader again; if it was open with this reader, it is given back."""
        _named(client)

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO skips VALUES (?, ?)", (study, client))
            connection.execute("DELETE FROM leases WHERE id = ? AND client = ?", (study, client))

        self.database.run(work)

    def unskip(self, study: str, client: str) -> bool:
        """Offer it again; false if this reader had not skipped it."""
        _named(client)
        query = "DELETE FROM skips WHERE id = ? AND client = ?"
        return self.database.run(lambda connection: connection.execute(query, (study, client)).rowcount > 0)

    def taken(self, client: str | None) -> Taken:
        """What is taken now for this reader; None: a reader without a name, for whom every lease is another's."""
        return self.database.run(lambda connection: _taken(connection, client, self.now()))

    def open(self) -> list[Lease]:
        """All leases that have not ended, the first to end first."""
        query = "SELECT id, client, until FROM leases WHERE until > ? ORDER BY until, id"
        rows = self.database.run(lambda connection: connection.execute(query, (self.now(),)).fetchall())
        return [Lease(*row) for row in rows]


def _taken(connection: sqlite3.Connection, client: str | None, now: float) -> Taken:
    leased = connection.execute("SELECT id FROM leases WHERE until > ? AND client IS NOT ?", (now, client))
    skipped = connection.execute("SELECT id FROM skips WHERE client = ?", (client,))
    return Taken(frozenset(row[0] for row in leased), frozenset(row[0] for row in skipped))


def _named(client: str) -> None:
    if not client:
        raise ConfigError("A reader needs a name, so that others can be told apart: send client_id")
