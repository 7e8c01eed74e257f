"""Which studies to label next. A strategy is one function; :data:`STRATEGIES` offers them by name.

Each lacks something at times: before the first model there are no scores, a network may have no encoder. Then another
takes its place and says so in the reason: ``hybrid``, ``uncertainty`` and ``diverse`` give way to ``cold_start``, and
everything at last to ``random``.
"""

from __future__ import annotations

import numpy as np

from lib.selection.cold_start import SAMPLE, principal, typical
from lib.selection.diversity import k_centre, spread
from lib.selection.features import weights
from lib.selection.pool import Picks, Pool, Strategy
from lib.selection.store import FEATURES

BETA = 2.0  # the study of rank r is short-listed with chances proportional to r^-2
ALONE = "the first, as no labelled study has an embedding to compare with"
LONGER = 3  # times as many are short-listed as are chosen: ten times as many are a whole project of forty studies


def hybrid(pool: Pool, count: int, rng: np.random.Generator) -> Picks:
    """Doubtful studies, the more likely the less sure the model is; of these some that are unlike the labelled ones.

    The score is a noisy measure, and the few highest are often of one kind or broken. So the order is that of
    ``-log rank + Gumbel / beta``, which draws without replacement with chances proportional to ``rank^-beta``, however
    far apart the scores lie (softrank acquisition of Kirsch et al., "Stochastic batch acquisition", TMLR 2023); of the
    first few times ``count`` :func:`spread` draws. The farthest of them, which would be taken otherwise, are often odd
    studies.
    """
    scored = pool.scored
    if not len(scored):
        return _instead(cold_start, pool, count, rng, pool.unscored)
    ranked = scored[np.argsort(-pool.scores[scored], kind="stable")]
    noisy = rng.gumbel(size=len(ranked)) / BETA - np.log(np.arange(1, len(ranked) + 1))
    short = ranked[np.argsort(-noisy, kind="stable")][: LONGER * count]
    known, points, labelled = pool.vectors(short)
    drawn = f"one of the {len(short)} that were drawn from {len(scored)} scored studies, the less sure the likelier"
    if len(known) < min(count, len(short)):
        return [(int(place), f"{drawn}; the model gave no embeddings to compare") for place in short[:count]]
    picks = spread(points, labelled, count, rng, start=0)  # the first of the known is the highest of them
    return [(int(known[place]), f"{drawn}, and of these {_apart(distance)}") for place, distance in picks]


def by_uncertainty(pool: Pool, count: int, rng: np.random.Generator) -> Picks:
    """The studies on which the branches of the live model disagree most, in and around what they predict."""
    scored = pool.scored
    if not len(scored):
        return _instead(cold_start, pool, count, rng, pool.unscored)
    best = scored[np.argsort(-pool.scores[scored], kind="stable")][:count]
    rest = len(pool.ids) - len(scored)
    waiting = f"; {rest} have no score yet" if rest else ""
    return [
        (
            int(place),
            f"the live model is {_least(number)} sure of it: score {pool.scores[place]:.3f}, "
            f"{_highest(number)} of {len(scored)} scored studies{waiting}",
        )
        for number, place in enumerate(best, 1)
    ]


def diverse(pool: Pool, count: int, rng: np.random.Generator) -> Picks:
    """The studies least like those that are labelled, by what the live model's encoder makes of them."""
    nearest = pool.nearest()
    known = np.flatnonzero(~np.isnan(nearest))
    if not len(known):
        why = "the live model gave no study an embedding yet" if pool.model else pool.unscored
        return _instead(cold_start, pool, count, rng, why)
    if count == 1 and np.isfinite(nearest[known]).all():  # what a reader waits for: all distances are known
        picks = [(int(best := nearest[known].argmax()), float(np.sqrt(max(nearest[known][best], 0.0))))]
    else:
        _, points, labelled = pool.vectors(known)
        picks = k_centre(points, labelled, count)
    return [(int(known[place]), f"of {len(known)} studies {_unlike(distance)}") for place, distance in picks]


def cold_start(pool: Pool, count: int, rng: np.random.Generator) -> Picks:
    """Typical studies, spread over all there are, by intensity, size and shape alone: for the time before a model."""
    places, most = np.arange(len(pool.ids)), max(SAMPLE, count)  # in random order already
    known, points, labelled = pool.vectors(places[:most], FEATURES)
    if len(known) < most:
        known, points, labelled = pool.vectors(places, FEATURES)
    by = "look"
    scale: np.ndarray | None = weights()
    if not len(known):
        known, points, labelled = pool.vectors(places)
        by, scale = "the model's embedding (there are no features yet)", None
    if not len(known):
        return _instead(at_random, pool, count, rng, "there are no features of them yet")
    known, points = known[:most], points[:most]
    together = principal(np.concatenate([points, labelled]), scale)
    picks = typical(together[: len(points)], together[len(points) :], count, rng)
    return [
        (int(known[place]), f"typical of {size} studies that are alike by {by}, of {len(known)} that were compared")
        for place, size in picks
    ]


def foreground_random(pool: Pool, count: int, rng: np.random.Generator) -> Picks:
    """Any study in which the live model finds something, each as likely, so that no empty ones are labelled."""
    found = pool.foreground
    if not len(found):
        why = "the live model finds nothing in any of them" if len(pool.scored) else pool.unscored
        return _instead(at_random, pool, count, rng, why)
    reason = f"drawn at random from {len(found)} studies in which the live model finds something"
    return [(int(place), reason) for place in found[:count]]


def at_random(pool: Pool, count: int, rng: np.random.Generator) -> Picks:
    """Any study, each as likely: the yardstick for the others."""
    reason = f"drawn at random from {len(pool.ids)} studies"
    return [(place, reason) for place in range(min(count, len(pool.ids)))]  # in random order already


STRATEGIES: dict[str, Strategy] = {
    "hybrid": hybrid,
    "uncertainty": by_uncertainty,
    "diverse": diverse,
    "cold_start": cold_start,
    "foreground_random": foreground_random,
    "random": at_random,
}


def describe() -> dict[str, str]:
    """Name -> what the strategy does in one sentence, for the clients."""
    return {name: (strategy.__doc__ or "").splitlines()[0] for name, strategy in STRATEGIES.items()}


def _instead(other: Strategy, pool: Pool, count: int, rng: np.random.Generator, why: str) -> Picks:
    return [(place, f"{why}; {reason}") for place, reason in other(pool, count, rng)]


def _unlike(distance: float) -> str:
    return f"the least like what is labelled (distance {distance:.3f})" if np.isfinite(distance) else ALONE


def _apart(distance: float) -> str:
    return f"drawn as unlike what is labelled (distance {distance:.3f})" if np.isfinite(distance) else ALONE


def _least(number: int) -> str:
    return "least" if number == 1 else "among the least"


def _highest(number: int) -> str:
    return "the highest" if number == 1 else f"number {number}"
