"""Each request has a thread of its own, and sees and sends what it would without the layer."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from lib.server.threads import Threaded

opened = threading.Event()


async def wait(request: Request) -> Response:
    """Blocks its event loop until another request has come through."""
    return PlainTextResponse("opened" if opened.wait(20) else "alone")


async def open_it(request: Request) -> Response:
    opened.set()
    return PlainTextResponse(threading.current_thread().name)


async def echo(request: Request) -> Response:
    return Response(await request.body())


async def fail(request: Request) -> Response:
    raise ValueError("a bug")


ROUTES = [Route("/info/", open_it), Route("/echo", echo, methods=["POST"]), Route("/fail", fail)]
ROUTES += [Route(path, wait, methods=["POST"]) for path in ("/infer/model", "/train/model")]


async def ask(*requests: tuple[str, str, Any], **threads: int) -> list[httpx.Response]:
    """The answers to requests that are asked at the same moment, in this order."""
    transport = httpx.ASGITransport(app=Threaded(Starlette(routes=ROUTES), **threads))
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        return await asyncio.gather(*(client.request(method, path, content=body) for method, path, body in requests))


@pytest.mark.parametrize("path", ["/infer/model", "/train/model?run_sync=true"])
def test_info_answers_while_the_threads_for_long_requests_are_all_busy(path: str) -> None:
    opened.clear()
    blocked, waiting, info = asyncio.run(
        ask(("POST", path, b""), ("POST", path, b""), ("GET", "/info/", b""), quick=1, long=1)
    )
    assert blocked.text == waiting.text == "opened"
    assert info.text.startswith("REQUEST")


def test_bodies_pass_unchanged() -> None:
    body = bytes(range(256)) * 5000
    (answer,) = asyncio.run(ask(("POST", "/echo", body)))
    assert answer.content == body


def test_a_bug_reaches_the_server() -> None:
    with pytest.raises(ValueError, match="a bug"):
        asyncio.run(ask(("GET", "/fail", b"")))


def test_what_is_no_request_stays_on_its_own_loop() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(threading.current_thread())

    asyncio.run(Threaded(app)({"type": "lifespan"}, None, None))  # type: ignore[arg-type]
    assert seen == [threading.main_thread()]
