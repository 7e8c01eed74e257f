"""What a strategy chooses from: the studies that may be offered, and what the store knows of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lib.selection.store import ScoreStore


@dataclass(frozen=True)
class Choice:
    """The study to label next.

    Attributes:
        id: of the study.
        score: its score by the live model; None if it has none.
        rank: its place among the scored studies of the pool, 1 is the highest score; None if it has no score.
        pool: how many studies there were to choose from.
        reason: in words, for the reader.
        model: checksum of the live model; None if there was none.
    """

    id: str
    score: float | None
    rank: int | None
    pool: int
    reason: str
    model: str | None = None


class Pool:
    """Candidates in random order, so that the first of equals is no better than the others.

    Args:
        ids: of the candidates, without doubles. values: their scores and predicted foregrounds in mm^3, ``(N, 2)``;
            NaN where there is none.
        labelled: ids of the studies that need no more like them.
        store, model: the embeddings and the live model's checksum; None if there is none.
    """

    def __init__(
        self,
        ids: Sequence[str],
        values: np.ndarray,
        labelled: Sequence[str],
        store: ScoreStore | None,
        model: str | None,
    ) -> None:
        self.ids, self.scores, self.volumes, self.labelled = ids, values[:, 0], values[:, 1], labelled
        self.store, self.model = store, model

    @property
    def scored(self) -> np.ndarray:
        """Places of the candidates with a score, ``(n,)``."""
        return np.flatnonzero(~np.isnan(self.scores))

    @property
    def unscored(self) -> str:
        """Why no candidate has a score, in words."""
        return "a live model has scored none of them yet" if self.model else "there is no model yet"

    @property
    def foreground(self) -> np.ndarray:
        """Places, ``(n,)``, of the scored in which the model predicts something, or may: a version 1 did not say."""
        return np.flatnonzero(~np.isnan(self.scores) & (self.volumes != 0))

    def vectors(self, places: np.ndarray, source: str | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What is known of some candidates and of the labelled studies as vectors.

        Args:
            source: a model's checksum, or :data:`lib.selection.store.FEATURES`; None: the live model.

        Returns:
            Those of the places that have a vector, their vectors ``(n, length)``, and those of the labelled studies
            ``(m, length)``.
        """
        source = source or self.model
        if not (self.store and source):
            return places[:0], np.empty((0, 0), np.float32), np.empty((0, 0), np.float32)
        table = self.store.embeddings(source)
        own, others = table.of([self.ids[place] for place in places]), table.of(self.labelled)
        has, have = _whole(own), _whole(others)
        return places[has], own if has.all() else own[has], others[have]

    def nearest(self) -> np.ndarray:
        """Squared distance of each candidate's vector by the live model to the nearest labelled one, ``(N,)``.

        NaN where the candidate has none, inf where no labelled study has one.
        """
        if not (self.store and self.model):
            return np.full(len(self.ids), np.nan)
        return self.store.nearest(self.model, self.ids, self.labelled)

    def choice(self, place: int, reason: str) -> Choice:
        """The candidate at this place, chosen for this reason."""
        score = float(self.scores[place])
        if np.isnan(score):
            return Choice(self.ids[place], None, None, len(self.ids), reason, self.model)
        rank = 1 + int((self.scores > score).sum())
        return Choice(self.ids[place], score, rank, len(self.ids), reason, self.model)


# (what there is to choose from, how many, random numbers) -> places in the pool and reasons, the best first; fewer
# than asked for where the strategy has no opinion on the rest.
Picks = list[tuple[int, str]]
Strategy = Callable[[Pool, int, np.random.Generator], Picks]


def _whole(vectors: np.ndarray) -> np.ndarray:
    """Rows that are vectors: one that is missing or too short ends in NaN."""
    return ~np.isnan(vectors[:, -1]) if vectors.shape[1] else np.zeros(len(vectors), dtype=bool)
