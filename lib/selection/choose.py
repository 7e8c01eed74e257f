"""Which study to label next. A strategy is one function; :data:`STRATEGIES` offers them by name."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lib.errors import NotFoundError
from lib.selection.store import ScoreStore


@dataclass(frozen=True)
class Choice:
    """The study to label next.

    Attributes:
        id: of the study.
        score: its score by the live model, where the strategy went by scores.
        rank: its place among the scored candidates, 1 is the highest score; None where the choice was random.
        pool: how many studies there were to choose from.
        reason: in words, for the reader.
    """

    id: str
    score: float | None
    rank: int | None
    pool: int
    reason: str


# (candidates, scores of some of them, random numbers) -> choice; candidates are sorted, without doubles, never empty.
Strategy = Callable[[Sequence[str], Mapping[str, float], random.Random], Choice]


def at_random(candidates: Sequence[str], scores: Mapping[str, float], rng: random.Random) -> Choice:
    """Any study, each as likely: the yardstick for the others."""
    reason = f"drawn at random from {len(candidates)} studies"
    return Choice(rng.choice(candidates), None, None, len(candidates), reason)


def by_uncertainty(candidates: Sequence[str], scores: Mapping[str, float], rng: random.Random) -> Choice:
    """The study on which the branches of the live model disagree most, in and around what they predict.

    Studies without a score come after all that have one, at random; equal scores are drawn from at random.
    """
    pool = len(candidates)
    scored = {study: scores[study] for study in candidates if study in scores}
    if not scored:
        reason = f"drawn at random from {pool} studies: a live model has scored none of them yet"
        return Choice(rng.choice(candidates), None, None, pool, reason)
    best = max(scored.values())
    study = rng.choice([study for study in candidates if scored.get(study) == best])
    reason = f"the live model is least sure of it: score {best:.3f}, the highest of {len(scored)} scored studies"
    rest = pool - len(scored)
    return Choice(study, best, 1, pool, reason + (f"; {rest} have no score yet" if rest else ""))


STRATEGIES: dict[str, Strategy] = {"uncertainty": by_uncertainty, "random": at_random}


def describe() -> dict[str, str]:
    """Name -> what the strategy does in one sentence, for the clients."""
    return {name: (strategy.__doc__ or "").splitlines()[0] for name, strategy in STRATEGIES.items()}


def choose(
    strategy: str, candidates: Sequence[str], store: ScoreStore | None, model: str | None, seed: int
) -> Choice | None:
    """The study to label next, by a look-up: nothing is computed here.

    Studies that the model could not read come last under every strategy: a reader can probably not open them either.

    Args:
        strategy: a name of :data:`STRATEGIES`.
        candidates: ids of the studies that may be offered.
        store, model: the scores and the live model's checksum; None if there is none yet, the choice is then random
            and says so.
        seed: the same seed, candidates and scores give the same choice.

    Returns:
        None if there are no candidates.

    Raises:
        NotFoundError: no such strategy.
        SemisegError: the store cannot be read.
    """
    if strategy not in STRATEGIES:
        raise NotFoundError(f"Strategy '{strategy}' does not exist; choose one of: {', '.join(STRATEGIES)}")
    pool = sorted(set(candidates))
    if not pool:
        return None
    scores = store.get(model) if store and model else {}
    broken = store.failures(model) if store and model else {}
    readable = [study for study in pool if study not in broken]
    return STRATEGIES[strategy](readable or pool, scores, random.Random(seed))
