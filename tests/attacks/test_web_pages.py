"""What a page in a reader's browser may do to this server, and names and headers that are not what they seem."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.testclient import TestClient

from lib.server.guard import Guard, bound_host
from lib.server.threads import Threaded
from tests.server.test_threads import LIMITS, ROUTES

CHANGING = [("POST", "/train/semiseg"), ("PUT", "/datastore/label?image=phantom_004"), ("DELETE", "/train/")]


@pytest.mark.parametrize(("method", "path"), CHANGING)
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example.org"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": "http://127.0.0.1.evil.example.org"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_sites_page_changes_nothing(ask: TestClient, method: str, path: str, headers: dict[str, str]) -> None:
    answer = ask.request(method, path, headers=headers)
    assert answer.status_code == 403
    assert "another server" in answer.json()["detail"]


def test_its_own_pages_and_other_programs_do(ask: TestClient) -> None:
    for headers in ({}, {"Origin": "http://127.0.0.1"}, {"Sec-Fetch-Site": "same-origin"}):
        assert ask.post("/activelearning/hybrid", headers=headers).status_code == 200


def test_another_sites_page_reads_nothing(ask: TestClient) -> None:
    asked = {"Origin": "https://evil.example.org", "Access-Control-Request-Method": "POST"}
    for answer in (ask.get("/info/", headers=asked), ask.options("/infer/semiseg", headers=asked)):
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def test_each_answer_says_how_it_may_be_used(ask: TestClient) -> None:
    for path in ("/info/", "/ohif/", "/no/such/route", "/static/ohif/index.html"):
        headers = ask.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"] == "frame-ancestors 'self'"
        assert headers["referrer-policy"] == "same-origin"


@pytest.mark.parametrize(
    "host",
    ["evil.example.org", "127.0.0.1.evil.example.org", "localhost.evil.org", "", "a b", "127.0.0.1:x", "[::1", "@"],
)  # fmt: skip
def test_a_name_that_was_made_to_point_here_is_refused(ask: TestClient, host: str) -> None:
    answer = ask.get("/info/", headers={"Host": host})
    assert answer.status_code == 400
    assert "hosts" in answer.json()["detail"]


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8000", "127.0.0.1", "[::1]:8000", "10.1.2.3", socket.gethostname()]
)
def test_its_own_names_are_answered(ask: TestClient, host: str) -> None:
    assert ask.get("/health", headers={"Host": host}).status_code == 200


def test_what_a_proxy_is_said_to_have_added_is_not_believed(ask: TestClient) -> None:
    told = {"X-Forwarded-Host": "evil.example.org", "X-Forwarded-For": "10.0.0.9", "X-Original-URL": "/logs/"}
    assert ask.get("/info/", headers=told).json() == ask.get("/info/").json()
    assert ask.post("/train/semiseg", headers={"Origin": "http://evil", "X-Forwarded-Host": "evil"}).status_code == 403


def guarded(**options: Any) -> Guard:
    return Guard(Threaded(Starlette(routes=ROUTES), LIMITS), ["localhost"], **options)


def test_the_origins_of_the_settings_may_use_it() -> None:
    ask = TestClient(guarded(origins=["https://viewer.example.org"]), base_url="http://localhost")
    ours, others = {"Origin": "https://viewer.example.org"}, {"Origin": "https://evil.example.org"}
    answer = ask.post("/session/", headers=ours, content=b"x")
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, ours["Origin"])
    assert ask.post("/session/", headers=others).status_code == 403
    assert "access-control-allow-origin" not in ask.get("/info/", headers=others).headers


def test_without_an_address_on_the_command_line_only_this_machine_is_answered() -> None:
    command = ["monailabel", "start_server", "--app", "a", "--studies", "s"]
    assert bound_host(command) is None
    for words in (["--host", "0.0.0.0"], ["-i", "0.0.0.0"], ["--host=0.0.0.0"], ["-i0.0.0.0"]):
        assert bound_host([*command, *words]) == "0.0.0.0"
    app = guarded(here_only=True)
    for address, status in (
        ("127.0.0.1", 200),
        ("::1", 200),
        ("::ffff:127.0.0.1", 200),
        ("10.0.0.9", 403),
        ("::2", 403),
    ):
        ask = TestClient(app, base_url="http://localhost", client=(address, 50000))
        assert ask.get("/info/").status_code == status
    assert TestClient(guarded(), base_url="http://localhost", client=("10.0.0.9", 1)).get("/info/").status_code == 200


@contextmanager
def listening(app: Any) -> Iterator[int]:
    """The app behind a real server and port."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


def say(port: int, text: bytes, wait: float = 10) -> bytes:
    """What the server answers to these bytes until it closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=wait) as connection:
        connection.sendall(text)
        answer = b""
        while piece := connection.recv(1 << 16):
            answer += piece
    return answer


HEAD = b"POST /session/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
WRONG = {
    "two lengths": HEAD + b"Content-Length: 3\r\nContent-Length: 30\r\n\r\nabc",
    "a negative length": HEAD + b"Content-Length: -3\r\n\r\nabc",
    "no length in numbers": HEAD + b"Content-Length: 0x3\r\n\r\nabc",
    "two hosts": HEAD + b"Host: evil\r\n\r\n",
    "a name with a space": HEAD + b"Content-Length : 3\r\n\r\nabc",
    "chunks of no size": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
    "two ways to encode": HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "headers without end": HEAD + b"X: " + b"x" * 100_000 + b"\r\n\r\n",
    "a thousand headers": HEAD + b"X: x\r\n" * 20_000 + b"\r\n",
    "no host": b"POST /session/ HTTP/1.1\r\nConnection: close\r\n\r\n",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
}


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with listening(guarded()) as number:
        yield number


@pytest.mark.parametrize("name", WRONG)
def test_headers_that_could_be_read_in_two_ways_are_refused(port: int, name: str) -> None:
    try:
        answer = say(port, WRONG[name])
    except ConnectionError:
        return  # closed before all of it was sent
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 431", b"HTTP/1.1 501")), answer[:200]


def test_a_second_request_in_the_first_ones_body_is_not_read_as_one(port: int) -> None:
    hidden = b"GET /fail HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answer = say(port, HEAD + b"Content-Length: %d\r\n\r\n" % len(hidden) + hidden)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.endswith(hidden)  # the route gives back the body


def test_a_body_that_drips_is_ended_and_holds_up_nobody() -> None:
    from lib.server.bodies import Limits

    slow = Threaded(Starlette(routes=ROUTES), Limits(1 << 20, patience=0.3, pace=1e9), quick=1)
    with listening(slow) as port, socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"POST /session/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\na")
        assert say(port, b"GET /info/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").startswith(
            b"HTTP/1.1 200"
        )
        answer = b""
        while piece := connection.recv(1 << 16):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 408")


def test_all_of_monai_labels_layers_that_open_it_are_gone(served: FastAPI) -> None:
    assert "CORS" not in " ".join(str(layer.cls) for layer in served.user_middleware)
