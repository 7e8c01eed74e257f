"""The scores and embeddings of the studies in one SQLite file, so that choosing the next study is a look-up.

A row belongs to an image and to the model that scored it, by checksum: a new model starts with no scores, a model
that was rolled back finds its own again. Beside them lie the leases and skips of the readers.
"""

from __future__ import annotations

import json
import math
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.selection.arrays import EmbeddingReader, ScoreReader, Table, rows_went
from lib.selection.database import Database
from lib.selection.diversity import Remembered
from lib.selection.leases import Leases

FEATURES = "features-1"  # takes the place of a model's checksum for what is computed without one
SCORE = "model, id, score, cause, fields, seconds, at, foreground"
KEPT = 6  # models whose embeddings stay: the five versions that are kept by default, and a draft


@dataclass(frozen=True)
class Row:
    """One scoring: ``score``, or None and the ``cause`` of the failure; ``seconds`` it took, ``when`` it ended.

    ``foreground`` is the predicted volume in mm^3, None where it is not known.
    """

    score: float | None
    cause: str | None
    fields: dict[str, Any]
    seconds: float
    when: float  # seconds since 1970
    foreground: float | None = None


class ScoreStore:
    """Scores by image id and model checksum in the file ``path``, which is made if it does not exist.

    Several processes and threads may read and write it. Of a damaged file see :class:`lib.selection.database.Database`.

    Args:
        now: seconds since 1970.

    Attributes:
        leases: who has which study open, and who skipped which.

    Raises:
        SemisegError: by every method, if the file is of a later version of semiseg, or cannot be read or written.
    """

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        self.path, self.now = Path(path), now
        self.database = Database(path)
        self.leases = Leases(self.database, now)
        self._distances = Remembered()
        self._scores, self._embeddings = ScoreReader(self.database), EmbeddingReader(self.database)
        self.database.run(lambda connection: None)

    def put(
        self,
        image: str,
        model: str,
        score: float,
        fields: Mapping[str, Any],
        seconds: float,
        foreground: float | None = None,
        embedding: np.ndarray | None = None,
        state: str | None = None,
    ) -> None:
        """Write a score (and what it was made of, as JSON); an earlier one of the same image and model is replaced.

        Args:
            foreground: predicted volume in mm^3. embedding: ``(length,)``. state: of the image's files.
        """
        if not math.isfinite(score):
            raise ValueError(f"The score {score} of '{image}' is not a number")
        row = (model, image, score, None, json.dumps(dict(fields)), seconds, self.now(), foreground)
        self._write(image, model, row, embedding, state)

    def put_failure(self, image: str, model: str, cause: str, seconds: float, state: str | None = None) -> None:
        """Write why this model cannot score this image, so that it is not tried again and again."""
        self._write(image, model, (model, image, None, cause, "{}", seconds, self.now(), None), None, state)

    def put_embedding(self, image: str, model: str, embedding: np.ndarray, state: str | None = None) -> None:
        """Write an embedding ``(n,)`` where there is no score: :data:`FEATURES`; an earlier failure is forgotten."""
        self._write(image, model, None, embedding, state)

    def get(self, model: str) -> dict[str, float]:
        """Image id -> score, of every image this model scored."""
        query = "SELECT id, score FROM scores WHERE model = ? AND score IS NOT NULL"
        return dict(self._all(query, model))

    def failures(self, model: str) -> dict[str, str]:
        """Image id -> cause, of every image this model could not score."""
        query = "SELECT id, cause FROM scores WHERE model = ? AND cause IS NOT NULL"
        return dict(self._all(query, model))

    def row(self, image: str, model: str) -> Row | None:
        """All that is known of one scoring, None if there was none."""
        return self.rows([image], model).get(image)

    def rows(self, images: Sequence[str], model: str) -> dict[str, Row]:
        """The same of several images, by id; those without a scoring are left out."""
        query = "SELECT id, score, cause, fields, seconds, at, foreground FROM scores WHERE model = ? AND id IN "
        query += "(SELECT value FROM json_each(?))"
        found = self._all(query, model, json.dumps(list(images)))
        return {row[0]: Row(row[1], row[2], json.loads(row[3]), *row[4:]) for row in found}

    def scores(self, model: str) -> Table:
        """Score and predicted foreground in mm^3, ``(N, 2)``, from memory where nothing changed; NaN: unreadable."""
        return self._scores.read(model)

    def embeddings(self, model: str) -> Table:
        """One unit vector a study, likewise; under :data:`FEATURES` self-made features of any scale."""
        return self._embeddings.read(model)

    def nearest(self, model: str, studies: Sequence[str], centres: Sequence[str]) -> np.ndarray:
        """Squared distance of each study's embedding to the nearest of the centres' ones, ``(len(studies),)``.

        NaN where the study has none, inf where no centre has one.
        """
        table = self.embeddings(model)
        rows = table.rows(studies)
        found = np.append(self._distances.nearest(table, centres), np.nan)  # which the place -1 stands for
        return np.asarray(found[rows])

    def missing(self, images: Iterable[str], model: str, states: Mapping[str, str] | None = None) -> list[str]:
        """Those of ``images``, in their order, that this model has to look at: never tried, or changed since.

        Scores of a store of version 1 count, but are computed once more, for the embedding that version lacked.

        Args:
            states: of the images' files now; where a score was written with another one the image was replaced.
        """
        tried = dict(self._all("SELECT id, state FROM embeddings WHERE model = ?", model))
        now = states or {}
        return [
            image
            for image in images
            if image not in tried or (tried[image] is not None and tried[image] != now.get(image, tried[image]))
        ]

    def previous(self, model: str) -> str | None:
        """The other model that scored last."""
        query = "SELECT model FROM scores WHERE model <> ? AND score IS NOT NULL GROUP BY model ORDER BY max(at) DESC"
        found = self._all(query, model)
        return found[0][0] if found else None

    def latest(self, model: str) -> float | None:
        """When this model scored last, in seconds since 1970; None: never."""
        found: float | None = self._all("SELECT max(at) FROM scores WHERE model = ? AND score IS NOT NULL", model)[0][0]
        return found

    def forget(self, images: Iterable[str]) -> None:
        """Drop all that is known of images that were deleted or replaced: under every model, leases and skips too."""
        rows = [(image,) for image in images]

        def work(connection: sqlite3.Connection) -> None:
            for table in ("scores", "embeddings", "leases", "skips"):
                connection.executemany(f"DELETE FROM {table} WHERE id = ?", rows)
                rows_went(connection, table)

        self.database.run(work)

    def trim(self, model: str) -> None:
        """Drop the embeddings of all but this model and the others that scored last, :data:`KEPT` together."""
        query = f"""DELETE FROM embeddings WHERE model NOT IN (?, '{FEATURES}') AND model NOT IN (
            SELECT model FROM scores WHERE model NOT IN (?, '{FEATURES}') GROUP BY model
            ORDER BY max(at) DESC LIMIT {KEPT - 1})"""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(query, (model, model))
            rows_went(connection, "embeddings")

        self.database.run(work)

    def _write(
        self, image: str, model: str, row: Sequence[Any] | None, embedding: np.ndarray | None, state: str | None
    ) -> None:
        vector = b"" if embedding is None else np.ascontiguousarray(embedding, dtype=np.float32).tobytes()

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM scores WHERE model = ? AND id = ?", (model, image))
            if row:
                connection.execute(f"INSERT INTO scores ({SCORE}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
            connection.execute(
                "INSERT OR REPLACE INTO embeddings (model, id, vector, state) VALUES (?, ?, ?, ?)",
                (model, image, vector, state),
            )

        self.database.run(work)

    def _all(self, query: str, *values: Any) -> Sequence[Any]:
        return self.database.run(lambda connection: connection.execute(query, values).fetchall())
