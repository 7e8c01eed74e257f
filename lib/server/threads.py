"""One thread and one event loop for each request, so that a long one does not hold up the others.

MONAI Label's endpoints are ``async def`` around synchronous work: on the server's own event loop an inference of five
seconds makes ``/info/``, which the clients poll, wait five seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

QUICK, LONG = 16, 4  # threads


class Threaded:
    """An ASGI layer that runs each HTTP request in a worker thread.

    Requests that compute (inference, and whatever is asked to ``run_sync``) have threads of their own: many of them
    wait for each other and never for a thread that answers ``/info/``. Further requests wait for a free thread.
    """

    def __init__(self, app: ASGIApp, quick: int = QUICK, long: int = LONG) -> None:
        self.app = app
        self.quick = ThreadPoolExecutor(quick, thread_name_prefix="REQUEST")
        self.long = ThreadPoolExecutor(long, thread_name_prefix="COMPUTE")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _only_waits(scope):  # the server's start and end are no requests
            await self.app(scope, receive, send)
            return
        loop = asyncio.get_running_loop()

        async def handle() -> None:
            await self.app(scope, _from_elsewhere(receive, loop), _from_elsewhere(send, loop))

        threads = self.long if _computes(scope) else self.quick
        await loop.run_in_executor(threads, lambda: asyncio.run(handle()))


def _only_waits(scope: Scope) -> bool:
    """The proxy awaits the network and nothing else: any number of viewers then take no thread from the others."""
    return "/proxy/dicom/" in scope["path"]


def _computes(scope: Scope) -> bool:
    return "/infer/" in scope["path"] or b"run_sync=true" in scope["query_string"].lower()


def _from_elsewhere(function: Callable[..., Awaitable[Any]], loop: asyncio.AbstractEventLoop) -> Callable[..., Any]:
    """``function``, which belongs to ``loop``, to be awaited from the event loop of another thread."""

    async def own_loop(arguments: tuple[Any, ...]) -> Any:
        return await function(*arguments)

    async def call(*arguments: Any) -> Any:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(own_loop(arguments), loop))

    return call
