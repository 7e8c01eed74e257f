"""What is different for OHIF; that its own page runs with it is shown by tests/e2e/test_ohif.py."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import monailabel.endpoints
import pytest
from fastapi import FastAPI
from monailabel.endpoints import activelearning, ohif

from lib.server import routes, viewer
from lib.server.app import SemisegApp

WHEEL = Path(monailabel.endpoints.__file__).parent / "static" / "ohif"


def ask(server: FastAPI, method: str, path: str, **options: Any) -> httpx.Response:
    async def request() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=server), base_url="http://server") as client:
            return await client.request(method, path, **options)

    return asyncio.run(request())


@pytest.fixture
def server(app: SemisegApp, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    for module in (routes, activelearning):
        monkeypatch.setattr(module, "app_instance", lambda: app)
    server = FastAPI()
    for part in (activelearning, ohif):
        server.include_router(part.router)
    routes.put_in_place(server, viewer.router)
    return server


def test_the_wheels_configuration_comes_first_and_is_whole(server: FastAPI) -> None:
    answer = ask(server, "GET", "/ohif/app-config.js")
    assert answer.headers["content-type"].startswith("text/javascript")
    assert answer.headers["cache-control"] == "no-cache"  # else a browser goes on with that of an earlier version
    assert answer.text.startswith((WHEEL / "app-config.js").read_text())
    assert "window.config.extensions.push(" in answer.text.removeprefix((WHEEL / "app-config.js").read_text())


def test_all_else_of_the_viewer_is_the_wheels(server: FastAPI) -> None:
    for path, file in (("/ohif/", "index.html"), ("/ohif/google.js", "google.js")):
        assert ask(server, "GET", path).content == (WHEEL / file).read_bytes()


@pytest.mark.parametrize(
    ("referer", "asked"),
    [
        ("http://server/ohif/monai-label?StudyInstanceUIDs=1.2", "hybrid"),
        ("http://server/", "random"),
        (None, "random"),
    ],
)
def test_ohif_gets_the_strategy_of_the_server_whatever_it_asks_for(
    server: FastAPI, app: SemisegApp, monkeypatch: pytest.MonkeyPatch, referer: str | None, asked: str
) -> None:
    strategies: list[str] = []

    def next_sample(request: dict[str, Any]) -> dict[str, Any]:
        strategies.append(request["strategy"])
        return {}

    monkeypatch.setattr(app, "next_sample", next_sample)
    headers = {"Referer": referer} if referer else {}
    assert ask(server, "POST", "/activelearning/random", json={}, headers=headers).status_code == 200
    assert strategies == [asked]


def test_the_log_does_not_name_the_patient_of_the_next_study(
    server: FastAPI, app: SemisegApp, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    study = app.datastore().list_images()[-1]
    monkeypatch.setattr(app.datastore(), "get_image_info", lambda _: {"PatientID": "Nobody"})
    with caplog.at_level("DEBUG"):
        answer = ask(server, "POST", "/activelearning/random", json={})
    assert answer.json()["PatientID"] == "Nobody"
    assert study in app.datastore().list_images()
    assert "Nobody" not in caplog.text
