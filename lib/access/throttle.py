"""Failed logins get slower, so that passwords cannot be guessed by trying."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from lib.errors import TooOftenError

FREE = 3  # failures without a delay: everybody mistypes
LONGEST_OF_USER = 30.0  # s; short, for others can bring it about
LONGEST_OF_ADDRESS = 300.0  # s
FORGET = 900.0  # s after the last failure
KNOWN = 10_000  # names and addresses that are remembered; beyond it the one that failed longest ago is forgotten


@dataclass
class _Failures:
    count: int
    last: float


class Throttle:
    """Counts failures per user and per address, with a delay that doubles from failure to failure.

    An attempt counts as a failure from its beginning, so that a hundred at the same time are not all free.

    Args:
        now: seconds, ever growing.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.now = now
        self._known: OrderedDict[tuple[str, str], _Failures] = OrderedDict()
        self._lock = threading.Lock()

    def attempt(self, user: str, address: str) -> None:
        """Begin a login.

        Raises:
            TooOftenError: too early after the last failure of this user, or from this address.
        """
        keys = (("user", user), LONGEST_OF_USER), (("address", address), LONGEST_OF_ADDRESS)
        with self._lock:
            wait = max(self._wait(key, longest) for key, longest in keys)
            if wait > 0:
                raise TooOftenError(wait)
            for key, _ in keys:
                failures = self._known.setdefault(key, _Failures(0, 0.0))
                failures.count, failures.last = failures.count + 1, self.now()
                self._known.move_to_end(key)
            while len(self._known) > KNOWN:
                self._known.popitem(last=False)

    def succeeded(self, user: str, address: str) -> None:
        """The attempt was no failure. Those of others from the same address still count."""
        with self._lock:
            self._known.pop(("user", user), None)
            failures = self._known.get(("address", address))
            if failures:
                failures.count -= 1

    def _wait(self, key: tuple[str, str], longest: float) -> float:
        failures = self._known.get(key)
        if failures is None:
            return 0.0
        passed = self.now() - failures.last
        if passed > FORGET:
            del self._known[key]
            return 0.0
        over = failures.count - FREE
        return min(2.0 ** min(over, 20), longest) - passed if over >= 0 else 0.0
