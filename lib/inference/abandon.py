"""A long computation that ends early when nobody waits for its result any more."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TypeVar

from lib.errors import SemisegError

T = TypeVar("T")
_pointless: ContextVar[Callable[[], bool] | None] = ContextVar("pointless", default=None)


class AbandonedError(SemisegError):
    """Whoever asked has gone, so that no one reads this."""

    status = 503


def run_unless(pointless: Callable[[], bool], work: Callable[[], T]) -> T:
    """What ``work`` returns, unless :func:`check_wanted`, called within it, finds it pointless."""
    before = _pointless.set(pointless)
    try:
        return work()
    finally:
        _pointless.reset(before)


def check_wanted() -> None:
    """To be called between the steps of what takes long.

    Raises:
        AbandonedError: the result is not wanted any more.
    """
    pointless = _pointless.get()
    if pointless and pointless():
        raise AbandonedError("The client has gone; the computation was ended")
