"""A clock that stands still unless the test turns it."""

from __future__ import annotations


class Clock:
    """In place of :func:`time.time` and the like: call it for the time, add to ``now`` to let time pass."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
