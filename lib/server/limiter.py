"""So many requests at work, so many waiting for their turn, and a clear word to the others."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect

from lib.errors import BusyError

USUAL = 2.0  # s; what a request takes as long as none has ended
RECENT = 0.3  # weight of the newest request in the mean


class Limiter:
    """Belongs to one event loop.

    Args:
        working: requests at the same time. waiting: requests beyond these that may wait.
        what: they are, for the sentence: ``segmentations``.
    """

    def __init__(self, working: int, waiting: int, what: str) -> None:
        self.working, self.waiting, self.what = working, waiting, what
        self.busy, self.seconds = 0, USUAL
        self.queue: deque[asyncio.Future[None]] = deque()
        self.waited: Callable[[float], object] = lambda seconds: None  # told of each request that got its turn

    @asynccontextmanager
    async def place(self, gone: asyncio.Future[None]) -> AsyncIterator[None]:
        """One place for the length of the block, in the order of asking.

        Args:
            gone: done when the client is; it gives up its turn then.

        Raises:
            BusyError: too many wait already. ClientDisconnect: the client did not wait.
        """
        asked = time.monotonic()
        await self._turn(gone)
        start = time.monotonic()
        self.waited(start - asked)
        try:
            yield
        finally:
            self.seconds += RECENT * (time.monotonic() - start - self.seconds)
            self._free()

    async def _turn(self, gone: asyncio.Future[None]) -> None:
        if self.busy < self.working:
            self.busy += 1
            return
        if len(self.queue) >= self.waiting:
            after = max(1, round(self.seconds * (len(self.queue) + 1) / self.working))
            raise BusyError(f"{self.busy} {self.what} are at work and {len(self.queue)} wait: ask again later", after)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.queue.append(turn)
        try:
            await asyncio.wait({turn, gone}, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                raise ClientDisconnect
        except BaseException:
            if turn.done():
                self._free()
            else:
                self.queue.remove(turn)
            raise

    def _free(self) -> None:
        """The place goes to the next one in the queue, or is free."""
        if self.queue:
            self.queue.popleft().set_result(None)
        else:
            self.busy -= 1
