"""A signal to end, taken as a wish: the training saves, validates and publishes first, within a bounded time."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

WISHES = (signal.SIGTERM, signal.SIGINT)


class Stop:
    """Within the block SIGTERM (Stop in a client, the server's end) and Ctrl-C set ``asked``.

    From then on the process has so many seconds: after them the system ends it, also where it hangs (SIGALRM). A
    second Ctrl-C ends it at once. In other threads than the main one, which get no signals, only :meth:`ask` does it.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds, self.asked = seconds, False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            self._before = {wish: signal.signal(wish, self._take) for wish in WISHES}
        return self

    def __exit__(self, *_: object) -> None:
        for wish, before in self._before.items():
            signal.signal(wish, before)
        if self._before:
            signal.alarm(0)

    def ask(self) -> None:
        """As a signal does, without the bound on the time."""
        self.asked = True

    def _take(self, number: int, frame: FrameType | None) -> None:
        if not self.asked:
            signal.alarm(math.ceil(self.seconds))
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        self.ask()


def before_the_server_ends(stop: Callable[[], object], busy: Callable[[], bool], seconds: float) -> None:
    """When the server is asked to end, have ``stop`` called, and end when nothing is ``busy`` any more.

    Until then it goes on answering. It must not end before its training: with the first process of a container, or the
    main one of a service, all others are killed. A second signal ends it at once. Only in the main thread, where
    signals arrive.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    asked = threading.Event()

    def chained(servers: Any) -> Callable[[int, FrameType | None], None]:
        def end_later(number: int) -> None:
            end = time.monotonic() + seconds
            while busy() and time.monotonic() < end:
                time.sleep(0.1)
            servers(number, None)

        def take(number: int, frame: FrameType | None) -> None:
            if asked.is_set() or not busy():
                servers(number, frame)
                return
            asked.set()
            stop()
            threading.Thread(target=end_later, args=(number,), name="END", daemon=True).start()

        return take

    for wish in WISHES:
        if callable(signal.getsignal(wish)):
            signal.signal(wish, chained(signal.getsignal(wish)))
