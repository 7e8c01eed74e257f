"""Look at the studies in the background, with a model or without: within a time, stoppable, resumable, by several."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import math
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lib.errors import StudyAwayError, StudyError
from lib.inference.segmenter import Examination
from lib.selection.features import study_features
from lib.selection.score import score_case
from lib.selection.store import FEATURES, ScoreStore
from lib.studies.cases import Case

logger = logging.getLogger(__name__)
Write = Callable[[str, float], None]  # what was found, to be told the state of the files and the seconds it took


class Predictor(Protocol):
    """What scoring needs of a :class:`lib.inference.segmenter.Segmenter`."""

    @property
    def checksum(self) -> str:
        """Of the model's file: whose scores these are."""

    def examine(self, image: Path, mirrored: bool = False) -> Examination:
        """Probabilities of the branches, and the embedding, in one pass."""


@dataclass(frozen=True)
class Terms:
    """How long and for whose share.

    Attributes:
        minutes: no further study is begun after this time; one under way is finished.
        should_stop: asked before each study; true ends the work.
        progress: told ``(done, of)`` after each study.
        share: ``(rank, processes)``: every process takes the studies whose place in the order, divided by the number
            of processes, leaves its rank. All give together what one alone would give.
    """

    minutes: float
    should_stop: Callable[[], bool] | None = None
    progress: Callable[[int, int], None] | None = None
    share: tuple[int, int] = (0, 1)


def score_studies(
    segmenter: Predictor,
    cases: Sequence[Case],
    store: ScoreStore,
    minutes: float,
    should_stop: Callable[[], bool] | None = None,
    progress: Callable[[int, int], None] | None = None,
    share: tuple[int, int] = (0, 1),
    measure: str | None = None,
    mirrored: bool = False,
) -> int:
    """Score those of ``cases`` that this model has not tried, and write each score as soon as it is known.

    The most promising come first, see :func:`promising_first`; the next call goes on where this one ended. An image
    that changes while it is scored is left for the next call, as is one whose server is away; one that is gone is
    left out.

    Args:
        cases: labelled ones may be among them: their embeddings tell which studies are unlike them.
        minutes, should_stop, progress, share: see :class:`Terms`.
        measure: of a voxel, one of :data:`lib.inference.uncertainty.MEASURES`; None: its default.
        mirrored: over mirrored views too, which takes three times as long again.

    Returns:
        How many studies got a score. One that cannot be read is named in the log and in the store, and not tried
        again with this model.

    Raises:
        SemisegError: the store cannot be written.
    """
    model = segmenter.checksum

    def look(case: Case) -> Write:
        seen = segmenter.examine(case.image, mirrored)
        found = score_case(seen.probabilities, measure)
        if not math.isfinite(found.score):
            raise StudyError(case.id, "the model's answer is not a number there", "Look at the image's intensities")
        fields = {"region": found.region, "classes": found.classes}
        size = found.foreground * seen.voxel
        return lambda state, seconds: store.put(
            case.id, model, found.score, fields, seconds, size, seen.embedding, state
        )

    store.trim(model)
    ordered = promising_first(cases, store, model)
    scored = _work(ordered, model, look, store, Terms(minutes, should_stop, progress, share))
    logger.info("Scored %d studies", scored)
    return scored


def describe_studies(
    cases: Sequence[Case],
    store: ScoreStore,
    minutes: float,
    should_stop: Callable[[], bool] | None = None,
    progress: Callable[[int, int], None] | None = None,
    share: tuple[int, int] = (0, 1),
) -> int:
    """Take the features of ``cases`` that need no model, for ``cold_start``; arguments and answer as above."""

    def look(case: Case) -> Write:
        features = study_features(case.image)
        return lambda state, seconds: store.put_embedding(case.id, FEATURES, features, state)

    ordered = promising_first(cases, store, FEATURES)
    return _work(ordered, FEATURES, look, store, Terms(minutes, should_stop, progress, share))


def promising_first(cases: Sequence[Case], store: ScoreStore, model: str) -> list[Case]:
    """The order of scoring, a function of the cases, the model and what the previous model found.

    First the labelled ones: they are few, and without them no other is unlike them. Then the studies that the previous
    model was less sure of than of most, the least sure first; then those it did not see; then the rest in the order of
    its scores. Where it saw none the order is random: if the time ends early, the scored ones are a fair sample of the
    studies and not the first of the alphabet.
    """
    by_id = {case.id: case for case in cases}
    ids = sorted(by_id)
    random.Random(model).shuffle(ids)
    before = store.previous(model)
    scores = store.get(before) if before else {}
    known = [scores[study] for study in ids if study in scores and not by_id[study].label]
    middle = statistics.median(known) if known else 0.0

    def place(study: str) -> tuple[int, float]:
        if by_id[study].label:
            return 0, 0.0
        if study not in scores:
            return 2, 0.0
        return (1 if scores[study] > middle else 3), -scores[study]

    return [by_id[study] for study in sorted(ids, key=place)]


def _work(ordered: Sequence[Case], model: str, look: Callable[[Case], Write], store: ScoreStore, terms: Terms) -> int:
    end, (rank, processes) = time.monotonic() + 60 * terms.minutes, terms.share
    mine = {case.id: case for case in ordered[rank::processes]}  # before what is done is left out: others work on it
    states = {study: state for study, case in mine.items() if (state := _state(case))}
    waiting = [mine[study] for study in store.missing(mine, model, states)]
    done = 0
    for count, case in enumerate(waiting, 1):
        if time.monotonic() >= end or (terms.should_stop and terms.should_stop()):
            break
        done += _one(case, model, look, store)
        if terms.progress:
            terms.progress(count, len(waiting))
    return done


def _one(case: Case, model: str, look: Callable[[Case], Write], store: ScoreStore) -> bool:
    """Look at one study and write what was found; was there anything?"""
    start, state = time.monotonic(), _state(case)
    cause, write = "", None
    try:
        write = look(case.usable())
    except StudyAwayError as error:
        logger.warning("Not scored now: %s", error)
        return False
    except StudyError as error:
        cause = str(error)
    if state is None or _state(case) != state:
        logger.warning("Not scored: study '%s' was deleted or replaced meanwhile", case.id)
    elif write:
        write(state, time.monotonic() - start)
        return True
    else:
        logger.warning("Not scored: %s", cause)
        store.put_failure(case.id, model, cause, time.monotonic() - start, state)
    return False


def _state(case: Case) -> str | None:
    """Changes when the image does, whatever its label does; None: it is gone."""
    try:
        parts = dataclasses.replace(case, label=None).state()
    except OSError:
        return None
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
