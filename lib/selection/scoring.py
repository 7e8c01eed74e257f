"""Score the studies a model has not seen scored, in the background: within a time, stoppable, resumable."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from torch import Tensor

from lib.errors import StudyError
from lib.selection.score import CaseScore, score_case
from lib.selection.store import ScoreStore
from lib.studies.cases import Case

logger = logging.getLogger(__name__)


class Predictor(Protocol):
    """What scoring needs of a :class:`lib.inference.segmenter.Segmenter`."""

    @property
    def checksum(self) -> str:
        """Of the model's file: whose scores these are."""

    def predict(self, image: Path) -> Tensor:
        """Probabilities ``(branches, classes, X, Y, Z)`` on the grid the networks see, not restored to the image's."""


def score_studies(
    segmenter: Predictor,
    cases: Sequence[Case],
    store: ScoreStore,
    minutes: float,
    should_stop: Callable[[], bool] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Score those of ``cases`` that this model has not tried, and write each score as soon as it is known.

    The order is random but the same for the same model: if the time ends early, the scored ones are a fair sample
    of the studies and not the first of the alphabet, and the next call goes on where this one ended.

    Args:
        minutes: no further study is begun after this time; one under way is finished.
        should_stop: asked before each study; true ends the scoring.
        progress: told ``(done, of)`` after each study.

    Returns:
        How many studies got a score. One that cannot be read is named in the log and in the store, and not tried
        again with this model.

    Raises:
        SemisegError: the store cannot be written.
    """
    model, end = segmenter.checksum, time.monotonic() + 60 * minutes
    by_id = {case.id: case for case in cases}
    waiting = store.missing(sorted(by_id), model)
    random.Random(model).shuffle(waiting)
    scored = 0
    for done, image in enumerate(waiting, 1):
        if time.monotonic() >= end or (should_stop and should_stop()):
            break
        start = time.monotonic()
        try:
            found = _score(segmenter, by_id[image])
        except StudyError as error:
            logger.warning("Not scored: %s", error)
            store.put_failure(image, model, str(error), time.monotonic() - start)
        else:
            fields = {"region": found.region, "classes": found.classes}
            store.put(image, model, found.score, fields, time.monotonic() - start)
            scored += 1
        if progress:
            progress(done, len(waiting))
    logger.info("Scored %d of %d studies that waited for a score", scored, len(waiting))
    return scored


def _score(segmenter: Predictor, case: Case) -> CaseScore:
    found = score_case(segmenter.predict(case.image))
    if not math.isfinite(found.score):
        raise StudyError(case.id, "the model's answer is not a number there", "Look at the image's intensities")
    return found
