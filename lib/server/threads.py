"""One thread and one event loop for each request, so that a long one does not hold up the others.

MONAI Label's endpoints are ``async def`` around synchronous work: on the server's own event loop an inference of five
seconds makes ``/info/``, which the clients poll, wait five seconds.

A thread has a request from when all of its body is here until the answer is made. Whoever sends or takes in slowly
has none: bodies and files pass on the server's own loop, any number of them side by side.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lib.config import Config
from lib.errors import SemisegError
from lib.inference.abandon import run_unless
from lib.server.bodies import CHUNK, SMALL, Body, Limits, spool, take_in
from lib.server.failures import refuse
from lib.server.limiter import Limiter

QUICK, TASKS = 32, 2  # requests at the same time: such as /info/, and those with run_sync
QUICK_WAITING, TASKS_WAITING = 512, 8
# s for which a thread may compute in Python while others wait; of the default, 5 ms, a request waits several times over
# when labels are checked beside it: 16 readers got /info/ in 0.3 s rather than 0.18 s (95th percentile, two busy cores)
SWITCH = 0.0005
FILE = "http.response.pathsend"  # the extension of ASGI by which an app names a file instead of sending it
RANGES = (b"range", b"if-range")


class Threaded:
    """An ASGI layer that runs each HTTP request in a worker thread.

    Inferences have places of their own, and so has whatever is asked to ``run_sync``: many of them wait for each other
    and never for a thread that answers ``/info/``. How many wait is bounded; the others are told when to ask again.

    Args:
        inferences: at the same time. queue: inferences beyond these that may wait.
        limits: of the requests' bodies.
    """

    def __init__(self, app: ASGIApp, limits: Limits, inferences: int = 1, queue: int = 16, quick: int = QUICK) -> None:
        self.app, self.limits = app, limits
        self.infer = Limiter(inferences, queue, "segmentations")
        self.tasks = Limiter(TASKS, TASKS_WAITING, "tasks that were asked to run at once")
        self.quick = Limiter(quick, QUICK_WAITING, "requests")
        self.threads = ThreadPoolExecutor(inferences + TASKS + quick, thread_name_prefix="REQUEST")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # the server's start and end are no requests
            await self.app(scope, receive, send)
        elif _only_waits(scope):
            await self.app(scope, self.limits.metered(scope, receive), send)
        else:
            try:
                await self._answer(scope, receive, send)
            except SemisegError as error:
                after = {"Retry-After": str(error.retry_after)} if hasattr(error, "retry_after") else {}
                await refuse(scope, receive, send, error.status, str(error), after)
            except ClientDisconnect:
                pass  # nobody is left to answer

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        with spool() as file:
            body = await take_in(scope, receive, self.limits, file)
            outbox: asyncio.Queue[Message | None] = asyncio.Queue()
            sending = asyncio.ensure_future(_deliver(outbox, send))
            try:
                async with _departure(receive) as gone, self._limiter(scope).place(gone):
                    await self._run(scope, body, gone, outbox)
            finally:
                outbox.put_nowait(None)
                await sending  # the place is free again: a slow taker holds up nobody

    async def _run(self, scope: Scope, body: Body, gone: asyncio.Future[None], outbox: asyncio.Queue) -> None:
        loop = asyncio.get_running_loop()

        async def departure() -> None:
            await asyncio.wait({gone})

        async def receive() -> Message:
            message = body.next()
            if message is None:
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(departure(), loop))
                return {"type": "http.disconnect"}
            return message

        async def send(message: Message) -> None:
            if message["type"] == FILE:  # opened now: the app may delete it as soon as this returns
                message = {**message, "file": Path(message["path"]).open("rb")}  # noqa: SIM115
            loop.call_soon_threadsafe(outbox.put_nowait, message)

        async def handle() -> None:
            await self.app(scope, receive, send)

        scope["extensions"] = {**scope.get("extensions", {}), FILE: {}}
        # parts of a file would pass through the memory; whole ones answer such a request as well (RFC 9110 14.2)
        scope["headers"] = [header for header in scope["headers"] if header[0].lower() not in RANGES]
        await loop.run_in_executor(self.threads, lambda: run_unless(gone.done, lambda: asyncio.run(handle())))

    def _limiter(self, scope: Scope) -> Limiter:
        if b"run_sync=" in scope["query_string"].lower():
            return self.tasks
        return self.infer if "/infer/" in scope["path"] and scope["method"] == "POST" else self.quick


def threaded(app: ASGIApp, config: Config) -> Threaded:
    """The layer as the settings say, in a process whose threads change places often enough for many readers."""
    sys.setswitchinterval(SWITCH)
    return Threaded(app, Limits(int(config.upload_gb * 1e9), config.model_uploads), config.inferences, config.queue)


def _only_waits(scope: Scope) -> bool:
    """The proxy awaits the network and nothing else: any number of viewers then take no thread from the others."""
    return "/proxy/dicom/" in scope["path"]


@asynccontextmanager
async def _departure(receive: Receive) -> AsyncIterator[asyncio.Future[None]]:
    """Done when the client closes the connection, from whom nothing else is expected any more."""

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    gone = asyncio.ensure_future(watch())
    try:
        yield gone
    finally:
        gone.cancel()


async def _deliver(outbox: asyncio.Queue[Message | None], send: Send) -> None:
    """Send the messages on as they come, as fast as the client takes them."""
    while (message := await outbox.get()) is not None:
        if message["type"] == FILE:
            await _deliver_file(message["file"], send)
        else:
            await send(message)


async def _deliver_file(file: Any, send: Send) -> None:
    loop = asyncio.get_running_loop()
    with file:
        while piece := await loop.run_in_executor(None, file.read, SMALL):
            for start in range(0, len(piece), CHUNK):  # the server's buffer takes whatever it is given at once
                await send({"type": "http.response.body", "body": piece[start : start + CHUNK], "more_body": True})
    await send({"type": "http.response.body", "body": b""})
