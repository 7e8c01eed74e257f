"""What is found out about studies in the background, so that the choice of the next one is a look-up.

Before the first model what they look like, so that the first choice is no blind one; later the scores of those that
came since the last scoring. What is known of a study that is deleted goes with it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.utils.async_tasks.utils import processes

from lib.errors import SemisegError
from lib.selection.scoring import describe_studies
from lib.selection.store import ScoreStore
from lib.studies.cases import Case

logger = logging.getLogger(__name__)

PAUSE = 60.0  # seconds between two scorings of studies that arrived: some may never get a score


def forget_removed(datastore: Datastore, store: ScoreStore) -> None:
    """Have a study that is deleted from this datastore, of whatever kind, take its scores, leases and skips along: one
    that comes later under the same id is another one."""
    mutable: Any = datastore
    remove = mutable.remove_image

    @wraps(remove)
    def call(image_id: str, *more: Any) -> Any:
        answer = remove(image_id, *more)
        store.forget([image_id])
        return answer

    mutable.remove_image = call


class Describing:
    """Takes the features of studies for ``cold_start``, one thread at a time.

    Args:
        minutes: after which a run ends; the next one goes on where it did.
        superfluous: asked before each study; true, since a model has come, ends the run.
    """

    def __init__(self, store: ScoreStore, minutes: float, superfluous: Callable[[], bool]) -> None:
        self.store, self.minutes, self.superfluous = store, minutes, superfluous
        self.thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def start(self, cases: Callable[[], Sequence[Case]]) -> None:
        """Begin, unless a run is under way or superfluous; returns at once.

        Args:
            cases: lists the studies; called in the thread.
        """
        with self._starting:
            if self.superfluous() or (self.thread and self.thread.is_alive()):
                return
            self.thread = threading.Thread(target=self._run, args=(cases,), name="DESCRIBE", daemon=True)
            self.thread.start()

    def _run(self, cases: Callable[[], Sequence[Case]]) -> None:
        try:
            describe_studies(cases(), self.store, self.minutes, self.superfluous)
        except SemisegError as error:
            logger.warning("The studies were not described: %s", error)


class Arrivals:
    """Called when there are studies without a score; has them scored, but not while that is under way.

    Args:
        training: is one under way? Its model will need other scores.
        score: starts the scoring, in a process of its own.
    """

    def __init__(self, training: Callable[[], bool], score: Callable[[], object]) -> None:
        self.training, self.score = training, score
        self._not_before = 0.0

    def __call__(self) -> None:
        if time.monotonic() >= self._not_before and not processes("scoring") and not self.training():
            self._not_before = time.monotonic() + PAUSE
            self.score()
