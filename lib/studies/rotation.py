"""Which studies are at hand at a step, when not all of them fit the cache: every one gets its turn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lib.studies.cases import Case


def in_turns(number: int, count: int, seed: int) -> int:
    """The ``number``-th draw from ``count`` items, each once before any comes again, in a new order each time."""
    turn, place = divmod(number, count)
    return int(np.random.default_rng((seed, 7, turn)).permutation(count)[place])


class Rotation:
    """A window that moves once around the shuffled studies during a training.

    Args:
        capacity: studies that may be cached at a time; at least one.
        total: steps of the training. Every study is in the window for capacity / count of them.
    """

    def __init__(self, cases: Sequence[Case], capacity: int, total: int, seed: int) -> None:
        order = np.random.default_rng((seed, 11)).permutation(len(cases))
        self.cases = [cases[place] for place in order]
        self.capacity, self.total = max(1, min(capacity, len(cases))), max(total, 1)

    def window(self, step: int) -> list[Case]:
        """The studies at hand at this step, a pure function of it."""
        count = len(self.cases)
        if self.capacity == count:
            return self.cases
        first = min(step, self.total) * count // self.total
        return [self.cases[(first + place) % count] for place in range(self.capacity)]
