"""What the store holds of one model as arrays in memory, re-read only as far as the file has changed.

Ten thousand embeddings are ten megabytes: read for each choice, they would cost more than the choice itself.
"""

from __future__ import annotations

import sqlite3
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import Any

import numpy as np

from lib.selection.database import Database

MODELS = 3  # that are kept in memory: the live one, the self-made features, one before


@dataclass(frozen=True)
class Table:
    """Rows of one model: study -> row of ``values``, ``(N, columns)``; NaN where the file has nothing."""

    places: dict[str, int] = field(default_factory=dict)
    values: np.ndarray = field(default_factory=lambda: np.empty((0, 0), dtype=np.float32))
    seen: tuple[int, int] = (0, 0)  # rows and highest number in the file
    sequence: int = -1  # of the file's table when it was read, see :func:`sequence`

    def rows(self, studies: Sequence[str]) -> np.ndarray:
        """Where these studies are in ``values``, ``(len(studies),)``; -1: nowhere."""
        return np.fromiter(map(self.places.get, studies, repeat(-1)), dtype=np.intp, count=len(studies))

    def of(self, studies: Sequence[str]) -> np.ndarray:
        """The rows of these studies, ``(len(studies), columns)``; NaN where a study has none."""
        places = self.rows(studies)
        if not len(self.values):
            return np.full((len(places), self.values.shape[1]), np.nan, dtype=self.values.dtype)
        found = self.values[places]
        found[places < 0] = np.nan
        return found

    def joined(self, ids: Sequence[str], values: np.ndarray, seen: tuple[int, int]) -> Table:
        """With these rows, ``(len(ids), columns)``, which replace those of the same study and follow the others."""
        if not ids:
            return Table(self.places, self.values if self.places else values, seen)
        places = dict(self.places)
        for study in ids:
            places.setdefault(study, len(places))
        columns = max(self.values.shape[1], values.shape[1])  # 0 while no study has an embedding
        grown = np.full((len(places), columns), np.nan, dtype=values.dtype)
        grown[: len(self.values), : self.values.shape[1]] = self.values
        rows = [places[study] for study in ids]
        grown[rows] = np.nan
        grown[rows, : values.shape[1]] = values
        return Table(places, grown, seen)


class Reader(ABC):
    """A table of the file in memory, by model. Threads may share it."""

    name: str
    columns: str

    def __init__(self, database: Database) -> None:
        self.database = database
        self._tables: dict[str, Table] = {}
        self._lock = threading.Lock()

    @abstractmethod
    def parse(self, rows: list[tuple[Any, ...]]) -> tuple[list[str], np.ndarray]:
        """Ids and values ``(N, columns)`` of rows ``(id, *columns)``."""

    def read(self, model: str) -> Table:
        """All that the file holds of this model now."""
        with self._lock:
            table = self.database.run(lambda connection: self._newer(connection, model, self._tables.pop(model, None)))
            self._tables[model] = table  # the one asked for last is the last to go
            while len(self._tables) > MODELS:
                del self._tables[next(iter(self._tables))]
            return table

    def _newer(self, connection: sqlite3.Connection, model: str, old: Table | None) -> Table:
        now = sequence(connection, self.name)
        if old and old.sequence == now:  # counting ten thousand rows takes as long as a choice
            return old
        return replace(self._counted(connection, model, old), sequence=now)

    def _counted(self, connection: sqlite3.Connection, model: str, old: Table | None) -> Table:
        count, last = connection.execute(
            f"SELECT count(*), coalesce(max(number), 0) FROM {self.name} WHERE model = ?", (model,)
        ).fetchone()
        if old and old.seen == (count, last):
            return old
        if old and last >= old.seen[1]:  # else another file took the place of a damaged one
            table = self._with(connection, model, old, (count, last))
            if len(table.places) == count:  # else some were deleted
                return table
        return self._with(connection, model, Table(), (count, last))

    def _with(self, connection: sqlite3.Connection, model: str, old: Table, seen: tuple[int, int]) -> Table:
        query = f"SELECT id, {self.columns} FROM {self.name} WHERE model = ? AND number > ?"
        return old.joined(*self.parse(connection.execute(query, (model, old.seen[1])).fetchall()), seen)


def sequence(connection: sqlite3.Connection, name: str) -> int:
    """A number of this table of the file that grows with every row that is written, and with :func:`rows_went`."""
    found = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (name,)).fetchone()
    return int(found[0]) if found else 0


def rows_went(connection: sqlite3.Connection, name: str) -> None:
    """Tell the readers that rows were deleted from this table: SQLite counts only those that come."""
    connection.execute("UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = ?", (name,))


class ScoreReader(Reader):
    """Score and predicted foreground in mm^3 of each study, float64 ``(N, 2)``; both NaN where it could not be read."""

    name, columns = "scores", "score, foreground"

    def parse(self, rows: list[tuple[Any, ...]]) -> tuple[list[str], np.ndarray]:
        values = np.array([row[1:] for row in rows], dtype=np.float64)  # None becomes NaN
        return [row[0] for row in rows], values.reshape(len(rows), 2)


class EmbeddingReader(Reader):
    """The embeddings, float32 ``(N, length)``; NaN where a study has none, or one of another length."""

    name, columns = "embeddings", "vector"

    def parse(self, rows: list[tuple[Any, ...]]) -> tuple[list[str], np.ndarray]:
        size = max((len(blob) for _, blob in rows), default=0)
        missing = np.full(size // 4, np.nan, dtype=np.float32).tobytes()
        joined = b"".join(blob if len(blob) == size else missing for _, blob in rows)
        return [row[0] for row in rows], np.frombuffer(joined, dtype=np.float32).reshape(len(rows), size // 4)
