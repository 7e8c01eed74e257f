"""The choice of the next studies: a look-up in what was computed before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lib.errors import NotFoundError
from lib.selection.pool import Choice, Pool
from lib.selection.store import FEATURES, ScoreStore
from lib.selection.strategies import STRATEGIES, describe

__all__ = ["STRATEGIES", "Choice", "choose", "choose_batch", "describe"]


def choose(
    strategy: str,
    candidates: Sequence[str],
    store: ScoreStore | None,
    model: str | None,
    seed: int,
    labelled: Sequence[str] = (),
) -> Choice | None:
    """The study to label next, None if there are no candidates; see :func:`choose_batch`."""
    chosen = choose_batch(strategy, candidates, store, model, seed, 1, labelled)
    return chosen[0] if chosen else None


def choose_batch(
    strategy: str,
    candidates: Sequence[str],
    store: ScoreStore | None,
    model: str | None,
    seed: int,
    count: int,
    labelled: Sequence[str] = (),
) -> list[Choice]:
    """The studies to label next, without doubles; nothing is computed of them here.

    Where the strategy names fewer than asked for, the rest are drawn at random. Studies that could not be read come
    last under every strategy: a reader can probably not open them either.

    Args:
        strategy: a name of :data:`STRATEGIES`.
        candidates: ids of the studies that may be offered.
        store, model: what is known and the live model's checksum; None if there is none yet.
        seed: the same seed, candidates, labels and store give the same answer, in whatever order they come.
        labelled: ids of the studies that are labelled or being labelled, for the strategies that want others.

    Raises:
        NotFoundError: no such strategy.
        SemisegError: the store cannot be read.
    """
    if strategy not in STRATEGIES:
        raise NotFoundError(f"Strategy '{strategy}' does not exist; choose one of: {', '.join(STRATEGIES)}")
    rng = np.random.default_rng(seed)
    ids = sorted(dict.fromkeys(candidates))
    ids = [ids[place] for place in rng.permutation(len(ids)).tolist()]
    values, broken = _known(ids, store, model)
    readable = np.delete(np.arange(len(ids)), broken)
    usable = [ids[place] for place in readable.tolist()] if broken else ids
    pool = Pool(usable, values[readable], sorted(set(labelled)), store, model)
    picks = STRATEGIES[strategy](pool, count, rng) if pool.ids else []
    chosen = [pool.choice(place, reason) for place, reason in picks]
    taken = {place for place, _ in picks}
    rest = [place for place in range(len(pool.ids)) if place not in taken] if len(chosen) < count else []
    why = f"drawn at random from the {len(rest)} studies that the strategy {strategy} knows nothing of"
    chosen += [pool.choice(place, why) for place in rest[: count - len(chosen)]]
    why = "it could not be read when it was scored, but no other study is left"
    last = broken[: max(count - len(chosen), 0)]
    return chosen + [Choice(ids[place], None, None, len(ids), why, model) for place in last]


def _known(ids: Sequence[str], store: ScoreStore | None, model: str | None) -> tuple[np.ndarray, list[int]]:
    """Score and foreground of each, ``(N, 2)``, and the places of those that are known to be unreadable: by the model,
    or before any model when their features were taken."""
    if store is None:
        return np.full((len(ids), 2), np.nan), []
    table = store.scores(model or FEATURES)
    values = table.of(ids)
    unscored = np.flatnonzero(np.isnan(values[:, 0])).tolist()
    return values, [place for place in unscored if ids[place] in table.places]
