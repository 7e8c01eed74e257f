"""Each request has a thread of its own, sees and sends what it would without the layer, and waits for no slow one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from lib.inference.abandon import AbandonedError, check_wanted
from lib.server.bodies import Limits
from lib.server.threads import Threaded

LIMITS = Limits(upload=1 << 23)
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


async def compute(request: Request) -> Response:
    """Goes on until it is not wanted any more."""
    opened.set()
    for _ in range(2000):
        try:
            check_wanted()
        except AbandonedError:
            left.set()
            raise
        threading.Event().wait(0.01)
    raise AssertionError


left = threading.Event()
ROUTES = [Route("/info/", open_it), Route("/session/", echo, methods=["POST"]), Route("/fail", fail)]
ROUTES += [Route(path, wait, methods=["POST"]) for path in ("/infer/model", "/train/model")]
ROUTES += [Route("/infer/long", compute, methods=["POST"])]


def layer(routes: list[Route] = ROUTES, **options: Any) -> Threaded:
    return Threaded(Starlette(routes=routes), LIMITS, **options)


async def ask(*requests: tuple[str, str, Any], **options: Any) -> list[httpx.Response]:
    """The answers to requests that are asked at the same moment, in this order."""
    transport = httpx.ASGITransport(app=layer(**options))
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        return await asyncio.gather(*(client.request(method, path, content=body) for method, path, body in requests))


@pytest.mark.parametrize("path", ["/infer/model", "/train/model?run_sync=true"])
def test_info_answers_while_the_places_for_long_requests_are_all_busy(path: str) -> None:
    opened.clear()
    *blocked, info = asyncio.run(ask(*[("POST", path, b"")] * 3, ("GET", "/info/", b""), quick=1))
    assert [answer.text for answer in blocked] == ["opened"] * 3
    assert info.text.startswith("REQUEST")


def test_an_inference_too_many_is_told_when_to_come_again() -> None:
    opened.clear()
    *answers, _ = asyncio.run(ask(*[("POST", "/infer/model", b"")] * 3, ("GET", "/info/", b""), inferences=1, queue=1))
    refused = [answer for answer in answers if answer.status_code != 200]
    assert [answer.status_code for answer in refused] == [503]
    assert int(refused[0].headers["Retry-After"]) >= 1
    assert refused[0].json()["detail"].startswith("1 segmentations are at work and 1 wait")


def test_bodies_pass_unchanged() -> None:
    body = bytes(range(256)) * 25_000
    (answer,) = asyncio.run(ask(("POST", "/session/", body)))
    assert answer.content == body


def test_a_body_beyond_the_limit_is_refused_though_its_length_was_not_told() -> None:
    async def pieces() -> Any:
        for _ in range(130):
            yield bytes(1 << 16)

    (answer,) = asyncio.run(ask(("POST", "/session/", pieces())))
    assert answer.status_code == 413
    assert "upload_gb" in answer.json()["detail"]


def test_a_bug_reaches_the_server() -> None:
    with pytest.raises(ValueError, match="a bug"):
        asyncio.run(ask(("GET", "/fail", b"")))


def test_what_is_no_request_stays_on_its_own_loop() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(threading.current_thread())

    asyncio.run(Threaded(app, LIMITS)({"type": "lifespan"}, None, None))  # type: ignore[arg-type]
    assert seen == [threading.main_thread()]


async def call(app: Threaded, path: str, receive: Callable, send: Callable, method: str = "POST") -> None:
    """One request as a server passes it on."""
    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": [(b"range", b"bytes=0-9")]}
    await app(scope, receive, send)


def test_those_who_take_slowly_or_send_slowly_keep_no_thread(tmp_path: Path) -> None:
    file = tmp_path / "image.bin"
    file.write_bytes(bytes(range(256)) * 4096)

    async def download(request: Request) -> Response:
        return FileResponse(file)

    async def run() -> bytes:
        app, taken = layer([Route("/image", download), *ROUTES], quick=1), asyncio.Event()
        received = bytearray()

        async def nothing() -> dict:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def for_ever() -> dict:
            await asyncio.Event().wait()
            raise AssertionError

        async def slow(message: dict) -> None:
            await taken.wait()
            received.extend(message.get("body", b""))

        status = []

        async def quick(message: dict) -> None:
            status.append(message.get("status"))

        first = True

        async def once() -> dict:
            nonlocal first
            if first:
                first = False
                return await nothing()
            return await for_ever()

        taking = asyncio.create_task(call(app, "/image", once, slow, "GET"))
        sending = asyncio.create_task(call(app, "/session/", for_ever, quick))
        await asyncio.sleep(0)
        await asyncio.wait_for(call(app, "/info/", nothing_then(for_ever), quick, "GET"), 20)
        assert status[0] == 200
        taken.set()
        await asyncio.wait_for(taking, 20)
        sending.cancel()
        return bytes(received)

    assert asyncio.run(run()) == file.read_bytes()


def nothing_then(forever: Callable) -> Callable:
    """An empty body, and then a client that stays."""
    told = False

    async def receive() -> dict:
        nonlocal told
        if told:
            return await forever()
        told = True
        return {"type": "http.request", "body": b"", "more_body": False}

    return receive


@pytest.mark.parametrize("at_work", [True, False], ids=["at work", "waiting"])
def test_a_client_that_goes_away_frees_its_place(at_work: bool) -> None:
    opened.clear()
    left.clear()

    async def run() -> None:
        app, gone = layer(inferences=1, queue=1), asyncio.Event()

        async def leaves() -> dict:
            await gone.wait()
            return {"type": "http.disconnect"}

        async def stays() -> dict:
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: dict) -> None:
            pass

        path = "/infer/long" if at_work else "/infer/model"
        first = asyncio.create_task(call(app, path, nothing_then(leaves if at_work else stays), send))
        while not app.infer.busy:
            await asyncio.sleep(0)
        second = asyncio.create_task(call(app, "/infer/model", nothing_then(stays if at_work else leaves), send))
        while not app.infer.queue:
            await asyncio.sleep(0)
        if at_work:
            await asyncio.to_thread(opened.wait, 20)
        gone.set()
        await asyncio.wait_for(first if at_work else second, 20)
        opened.set()
        await asyncio.wait_for(second if at_work else first, 20)
        assert (app.infer.busy, len(app.infer.queue)) == (0, 0)

    asyncio.run(run())
    assert left.is_set() is at_work
