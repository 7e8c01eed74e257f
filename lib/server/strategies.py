"""Active learning strategies: look-ups in what was computed after the last training, one reader at a time."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.strategy import Strategy

from lib.config import Config
from lib.selection.choose import Choice, describe
from lib.selection.offer import MINUTES, Nothing, offer, review
from lib.selection.store import ScoreStore
from lib.server.cases import FINAL, worklist
from lib.server.live import LiveModel


class LookUp(Strategy):
    """One strategy of :mod:`lib.selection.strategies` as MONAI Label calls it.

    Args:
        minutes: for which a study stays open with the reader it was offered to.
        arrived: called when there are studies that the live model has not tried to score, as those that came since.
    """

    def __init__(
        self,
        name: str,
        live: LiveModel,
        scores: ScoreStore,
        modalities: Sequence[str] = (),
        minutes: float = MINUTES,
        arrived: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(describe()[name])
        self.name, self.live, self.scores, self.minutes, self.modalities = name, live, scores, minutes, modalities
        self.arrived = arrived

    def info(self) -> dict[str, Any]:
        """As ``/info/`` shows it."""
        return super().info() | {"config": {}}

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        """The study to label next.

        Args:
            request: see :meth:`offer`.

        Returns:
            ``id``, ``score``, ``rank``, ``pool``, ``reason`` (see :class:`lib.selection.pool.Choice`) and the
            ``version`` of the model that gave the score; None if nothing is left, see :meth:`nothing`.
        """
        found = self.offer(request, datastore)
        if isinstance(found, Nothing):
            return None
        model = self.live.loaded()
        known = {name: getattr(found, name) for name in ("id", "score", "rank", "pool", "reason")}
        return known | {"version": model.version if model else None}

    def nothing(self, request: Mapping[str, Any], datastore: Datastore) -> str:
        """Why nothing is left for this reader; empty if something is."""
        found = self.offer(request, datastore)
        return str(found) if isinstance(found, Nothing) else ""

    def offer(self, request: Mapping[str, Any], datastore: Datastore) -> Choice | Nothing:
        """The next study for the reader who asks; it is open with this reader from now on.

        Args:
            request: ``client_id`` names the reader; without it nothing is opened. ``seed`` makes the choice repeatable;
                without it, asking again may give another study. ``review``: true asks for the labelled study whose
                label the model doubts most, by what ``POST /scoring/dice`` has found.

        Raises:
            ConfigError: a seed that is none. NotFoundError, SemisegError: see :func:`lib.selection.offer.offer`.
        """
        model = self.live.loaded()
        seed = Config.from_conf({"seed": request.get("seed", secrets.randbits(32))}).seed
        client = str(request.get("client_id") or "") or None
        if str(request.get("review", "")).lower() == "true":
            return review(_doubts(datastore, model.version if model else ""), self.scores, client, self.minutes)
        waiting, labelled = worklist(datastore, self.modalities, model.strength if model else {})
        done = [case.id for case in labelled]
        studies = [*(case.id for case in waiting), *done]
        checksum = model.checksum if model else None
        if checksum and not all(map(self.scores.scores(checksum).places.__contains__, studies)):
            self.arrived()
        return offer(self.name, studies, done, self.scores, checksum, seed, client, self.minutes)


def _doubts(datastore: Datastore, version: str) -> dict[str, float]:
    """Study -> 1 less the mean Dice of its label and the prediction of this version, where that was computed."""
    found = {}
    for study in datastore.get_labeled_images():
        label = datastore.get_label_by_image_id(study, FINAL)
        scored = datastore.get_label_info(label, FINAL).get("dice") if label else None
        if scored and scored["version"] == version:
            found[study] = 1 - sum(scored["dice"].values()) / len(scored["dice"])
    return found
