"""The next study for one of several readers: who is offered what, and what is said when nothing is left."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from lib.selection.choose import choose
from lib.selection.leases import Taken
from lib.selection.pool import Choice
from lib.selection.store import ScoreStore

MINUTES = 60.0  # of a lease: longer than it takes to label most studies, shorter than a shift


@dataclass(frozen=True)
class Nothing:
    """No study is left for this reader: how many there are, and where the others are. ``str`` says it in words.

    Each study counts once: as labelled, else as skipped by this reader, else as open with another one.
    """

    studies: int
    labelled: int
    skipped: int
    leased: int

    def __str__(self) -> str:
        if not self.studies:
            return "There are no studies yet: add images to the studies folder."
        if not self.skipped and not self.leased:
            return f"All {self.studies} studies are labelled."
        parts = []
        if self.labelled:
            parts.append(f"{self.labelled} of {self.studies} studies are labelled")
        if self.leased:
            parts.append(f"{self.leased} are open with other readers: ask again later, or have one released")
        if self.skipped:
            parts.append(f"you skipped {self.skipped}: take one back to go on")
        sentence = "; ".join(parts)
        return sentence[0].upper() + sentence[1:] + "."


def offer(
    strategy: str,
    studies: Sequence[str],
    labelled: Collection[str],
    store: ScoreStore,
    model: str | None,
    seed: int,
    client: str | None = None,
    minutes: float = MINUTES,
) -> Choice | Nothing:
    """Choose the next study for a reader and open it for this reader, in one step that no other reader can divide.

    Studies that are open with others count as labelled for the strategies that want unlike ones.

    Args:
        strategy, store, model, seed: see :func:`lib.selection.choose.choose_batch`.
        studies: ids of all studies; labelled ones may be among them. labelled: ids of those with a final label.
        client: the reader; None: one without a name, for whom nothing is opened.
        minutes: until the study is offered to others again.

    Raises:
        NotFoundError: no such strategy. ConfigError: minutes is no positive number.
        SemisegError: the store cannot be read or written.
    """

    def pick(taken: Taken) -> Choice | None:
        near = sorted(set(labelled) | taken.leased)
        return choose(strategy, _left(studies, labelled, taken), store, model, seed, near)

    return _open(pick, studies, labelled, store, client, minutes)


def review(
    doubts: Mapping[str, float], store: ScoreStore, client: str | None = None, minutes: float = MINUTES
) -> Choice | Nothing:
    """The labelled study whose label the live model doubts most, opened for this reader, to be looked at once more.

    The rules of :func:`offer` hold but one: all these studies are labelled. Equal doubts go by the id.

    Args:
        doubts: of labelled studies, e.g. 1 less the Dice of label and prediction; NaN is no doubt that is known.
    """
    known = {study: doubt for study, doubt in doubts.items() if doubt == doubt}

    def pick(taken: Taken) -> Choice | None:
        left = sorted(_left(list(known), (), taken), key=lambda study: (-known[study], study))
        if not left:
            return None
        rank = 1 + sum(doubt > known[left[0]] for doubt in known.values())
        reason = f"of {len(known)} labels that were compared with the live model it doubts this one "
        reason += f"{'most' if rank == 1 else 'as number ' + str(rank)}: {known[left[0]]:.3f}"
        return Choice(left[0], known[left[0]], rank, len(left), reason)

    return _open(pick, list(known), (), store, client, minutes)


def _left(studies: Sequence[str], labelled: Collection[str], taken: Taken) -> list[str]:
    """The rule of exclusion: not labelled, not skipped by this reader, not open with another one."""
    out = set(labelled) | taken.skipped | taken.leased
    return [study for study in studies if study not in out]


def _open(
    pick: Callable[[Taken], Choice | None],
    studies: Sequence[str],
    labelled: Collection[str],
    store: ScoreStore,
    client: str | None,
    minutes: float,
) -> Choice | Nothing:
    if client is None:
        taken = store.leases.taken(None)
        return pick(taken) or _nothing(studies, labelled, taken)
    answers: list[Choice | Nothing] = []

    def name(taken: Taken) -> str | None:
        found = pick(taken)
        answers.append(found or _nothing(studies, labelled, taken))
        return found.id if found else None

    store.leases.lease_one(name, client, minutes)
    return answers[-1]  # the last, because a damaged file is replaced and asked again


def _nothing(studies: Sequence[str], labelled: Collection[str], taken: Taken) -> Nothing:
    every, done = set(studies), set(labelled)
    skipped = (every - done) & taken.skipped
    leased = ((every - done) & taken.leased) - skipped
    return Nothing(len(every), len(every & done), len(skipped), len(leased))
