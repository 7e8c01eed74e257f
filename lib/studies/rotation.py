"""Which unlabelled study is drawn when, where not all of them fit the cache: every one gets its turn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lib.studies.cases import Case


def in_turns(number: int, count: int, seed: int) -> int:
    """The ``number``-th draw from ``count`` items, each once before any comes again, in a new order each time."""
    turn, place = divmod(number, count)
    return int(np.random.default_rng((seed, 7, turn)).permutation(count)[place])


class Rotation:
    """A window that moves once around the shuffled studies during a training, as a pure function of the draw.

    Args:
        capacity: studies that may be cached at a time; at least one.
        draws: patches that the training takes in all. Every study is in the window for capacity / count of them, and
            if there are as many draws as studies, each is drawn: at the latest just before it leaves the window.
    """

    def __init__(self, cases: Sequence[Case], capacity: int, draws: int, seed: int) -> None:
        order = np.random.default_rng((seed, 11)).permutation(len(cases))
        self.cases = [cases[place] for place in order]
        self.capacity, self.draws, self.seed = max(1, min(capacity, len(cases))), max(draws, 1), seed

    def window(self, draw: int) -> list[Case]:
        """The studies at hand at this draw."""
        return self._from(self._first(draw))[: self.capacity]

    def preferred(self, draw: int) -> list[Case]:
        """All studies: the one that is drawn, then those that take its turn if it cannot be read, the nearest first."""
        first, count = self._first(draw), self.capacity
        leaves = self.capacity < len(self.cases) and self._first(draw + 1) > first
        place = 0 if leaves else in_turns(draw, count, self.seed)
        near = self._from(first)
        return near[place:count] + near[:place] + near[count:]

    def _first(self, draw: int) -> int:
        return 0 if self.capacity == len(self.cases) else min(draw, self.draws) * len(self.cases) // self.draws

    def _from(self, first: int) -> list[Case]:
        start = first % len(self.cases)
        return self.cases[start:] + self.cases[:start]
