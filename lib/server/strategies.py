"""Active learning strategies: look-ups in the scores that were computed after the last training."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.strategy import Strategy

from lib.config import Config
from lib.selection.choose import choose, describe
from lib.selection.store import ScoreStore
from lib.server.cases import waiting_cases
from lib.server.live import LiveModel


class LookUp(Strategy):
    """One strategy of :mod:`lib.selection.choose` as MONAI Label calls it."""

    def __init__(self, name: str, live: LiveModel, scores: ScoreStore, modalities: Sequence[str] = ()) -> None:
        super().__init__(describe()[name])
        self.name, self.live, self.scores, self.modalities = name, live, scores, modalities

    def info(self) -> dict[str, Any]:
        """As ``/info/`` shows it."""
        return super().info() | {"config": {}}

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        """The study to label next.

        Args:
            request: ``seed`` makes the choice repeatable; without it, asking again may give another study.

        Returns:
            ``id``, ``score``, ``rank``, ``pool``, ``reason`` (see :class:`lib.selection.choose.Choice`) and the
            ``version`` of the model that gave the score; None if every study is labelled.
        """
        model = self.live.loaded()
        seed = Config.from_conf({"seed": request.get("seed", secrets.randbits(32))}).seed
        waiting = waiting_cases(datastore, self.modalities, model.strength if model else {})
        choice = choose(self.name, [case.id for case in waiting], self.scores, model.checksum if model else None, seed)
        if choice is None:
            return None
        return {
            "id": choice.id,
            "score": choice.score,
            "rank": choice.rank,
            "pool": choice.pool,
            "reason": choice.reason,
            "version": model.version if model else None,
        }
