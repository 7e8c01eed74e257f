"""What a client reads when something fails: a status that says whose fault it is, and a sentence."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, HTTPException
from monailabel.interfaces.exception import ImageNotFoundException, MONAILabelError, MONAILabelException

from lib.errors import ConfigError, NotFoundError, NotReadyError, SemisegError, StudyError
from lib.server.failures import answer_in_sentences

FAILURES = {
    "config": (ConfigError("A setting is wrong"), 400, "A setting is wrong"),
    "study": (StudyError("a", "it is broken", "Replace it"), 422, "Study 'a': it is broken. Replace it."),
    "missing": (NotFoundError("No such model"), 404, "No such model"),
    "early": (NotReadyError("No model yet"), 409, "No model yet"),
    "other": (SemisegError("The disk is full"), 500, "The disk is full"),
    "library": (
        MONAILabelException(MONAILabelError.INVALID_INPUT, "Model is not provided"),
        400,
        "Model is not provided",
    ),
    "image": (ImageNotFoundException("Image x not found"), 404, "Image x not found"),
    "no image": (
        HTTPException(500, "Neither Image nor File not Session ID input is provided"),
        400,
        "Neither Image nor File not Session ID input is provided",
    ),
    "no such file": (HTTPException(404, "Image NOT Found"), 404, "Image NOT Found"),
    "app": (MONAILabelException(MONAILabelError.APP_ERROR, "It failed"), 500, "It failed"),
}


class Client:
    """Asks the app without a server between them."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app

    def get(self, path: str, **options: Any) -> httpx.Response:
        return asyncio.run(self._ask("GET", path, **options))

    def post(self, path: str, **options: Any) -> httpx.Response:
        return asyncio.run(self._ask("POST", path, **options))

    async def _ask(self, method: str, path: str, raise_bugs: bool = False, **options: Any) -> httpx.Response:
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=raise_bugs)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return await client.request(method, path, **options)


@pytest.fixture(scope="module")
def client() -> Client:
    app = FastAPI()

    @app.get("/fail/{name}")
    async def fail(name: str) -> None:
        raise FAILURES[name][0]

    @app.get("/bug")
    async def bug() -> None:
        raise ZeroDivisionError("division by zero")

    @app.get("/json")
    async def parse(text: str) -> dict:
        return json.loads(text)

    @app.post("/body")
    async def body(params: dict | None = None, number: int = 0) -> dict:
        return params or {}

    answer_in_sentences(app)
    return Client(app)


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_is_a_status_and_its_sentence(client: Client, name: str) -> None:
    _, status, sentence = FAILURES[name]
    answer = client.get(f"/fail/{name}")
    assert (answer.status_code, answer.json()) == (status, {"detail": sentence})


def test_a_bug_is_json_too_and_reaches_the_log(client: Client) -> None:
    answer = client.get("/bug")
    assert answer.status_code == 500
    assert "ZeroDivisionError: division by zero" in answer.json()["detail"]
    with pytest.raises(ZeroDivisionError):
        client.get("/bug", raise_bugs=True)


def test_text_that_is_no_json_is_the_clients_fault(client: Client) -> None:
    for answer in (
        client.get("/json", params={"text": "{oops"}),
        client.post("/body", content=b"{oops", headers={"Content-Type": "application/json"}),
    ):
        assert answer.status_code == 400
        assert "JSON" in answer.json()["detail"]


def test_parameters_that_do_not_fit_are_named(client: Client) -> None:
    answer = client.post("/body", params={"number": "many"})
    assert answer.status_code == 422
    assert "query number" in answer.json()["detail"]
