"""What happens at the moment: the training with its time left, and what waits."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

WINDOW = 60.0  # seconds over which the pace is measured: a validation in between is averaged over
SHOWN = (
    "status", "stage", "method", "step", "total", "losses", "metric", "best_metric", "warnings", "reason", "outlook",
    "current_time", "total_time", "start_ts", "version",
)  # fmt: skip


class Pace:
    """Iterations a second, by what was seen of the last minute. A training that was resumed begins in the middle, so
    the time since its start tells nothing.

    Args:
        now: seconds of a clock that never goes back.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.now = now
        self._seen: deque[tuple[float, int]] = deque()
        self._lock = threading.Lock()

    def seconds_left(self, step: int, total: int) -> float | None:
        """Until ``total``; None while it is not known yet."""
        with self._lock:
            now = self.now()
            if self._seen and step < self._seen[-1][1]:
                self._seen.clear()  # another training
            self._seen.append((now, step))
            while now - self._seen[0][0] > WINDOW and len(self._seen) > 2:
                self._seen.popleft()
            since, first = self._seen[0]
        if step == first or now <= since:
            return None
        return (total - step) * (now - since) / (step - first)


def training_now(
    stats: Mapping[str, Any], running: bool, pace: Pace, latest: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The running or the last training.

    Args:
        stats: as :class:`lib.server.train_stats.TrainStats` reads them; empty before the first training of a server.
        latest: see :meth:`lib.page.rounds.Round.to_dict`: takes their place then.
    """
    if not stats and latest:
        status = latest["status"] if latest["status"] in ("stopped", "failed") else "done"
        stats = {"status": status, "metric": latest["dice"], "best_metric": latest["dice"]}
        stats |= {name: latest[name] for name in ("method", "reason", "version", "warnings")}
    if running and (not stats or "total_time" in stats):  # the command line trains, and tells the server nothing
        stats = {"status": "running", "stage": "elsewhere"}
    known = {name: stats.get(name) for name in SHOWN}
    step, total = stats.get("step"), stats.get("total")
    left = pace.seconds_left(step, total) if running and step and total else None
    return known | {"running": running, "seconds_left": None if left is None else round(left)}
