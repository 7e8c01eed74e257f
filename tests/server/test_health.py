"""Well or not, and why: in sentences that tell a stranger nothing about studies or places."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from lib.server import health
from lib.server.app import SemisegApp
from lib.server.health import checks, free_bytes, health_router
from lib.training.model_folder import ModelFolder


def ask(app: Any) -> httpx.Response:
    server = FastAPI()
    server.include_router(health_router(app))

    async def request() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=server), base_url="http://server") as client:
            return await client.get("/health")

    return asyncio.run(request())


def test_a_server_is_well_before_and_after_its_first_model(app: SemisegApp, publish: Callable[..., str]) -> None:
    expected = {"status": "ok", "checks": dict.fromkeys(("studies", "model", "store", "disk"), "ok")}
    assert (ask(app).status_code, ask(app).json()) == (200, expected)
    publish()
    assert (ask(app).status_code, ask(app).json()) == (200, expected)


@pytest.mark.parametrize("broken", ["studies", "model", "store", "disk"])
def test_each_fault_is_named_and_nothing_else_is_told(
    broken: str,
    app: SemisegApp,
    folder: ModelFolder,
    studies: Path,
    publish: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publish()
    if broken == "studies":
        shutil.rmtree(studies)
        monkeypatch.setattr(health, "free_bytes", lambda app: {"model": 1 << 40, "studies": 1 << 40})
    elif broken == "model":
        (folder.path / "live.pt").write_bytes(b"no model")
    elif broken == "store":
        app.scores.path.unlink()
        app.scores.path.mkdir()
    else:
        usage = SimpleNamespace(free=health.LEAST_FREE - 1)
        monkeypatch.setattr(health.shutil, "disk_usage", lambda place: usage)
    answer = ask(app)
    assert answer.status_code == 503
    assert answer.json()["status"] == "failing"
    wrong = {name: cause for name, cause in answer.json()["checks"].items() if cause != "ok"}
    assert list(wrong) == [broken]
    assert "phantom" not in answer.text
    assert str(studies.parent) not in answer.text


def test_a_dicom_server_that_is_away_is_a_fault_and_has_no_folder(app: SemisegApp) -> None:
    class Away(SimpleNamespace):
        def cases(self) -> list[Any]:
            self.trouble = "no answer from http://secret"  # which is found out by asking
            return []

    served = SimpleNamespace(**{name: getattr(app, name) for name in ("config", "folder", "live", "scores")})
    store = Away(trouble="")
    served.studies, served.datastore = "http://secret/dicom-web", lambda: store
    assert checks(served)["studies"] == "the DICOM server does not answer or refuses the password"  # type: ignore[arg-type]
    assert free_bytes(served).keys() == {"model"}  # type: ignore[arg-type]
