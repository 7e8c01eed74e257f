"""The routes that take the place of MONAI Label's: refusals before a process starts, sentences instead of nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from monailabel.endpoints import activelearning, batch_infer, scoring, train

from lib.server import routes
from lib.server.app import SemisegApp
from lib.server.failures import answer_in_sentences

Ask = Callable[..., httpx.Response]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The tasks that would have been started in processes of their own."""
    tasks: list[Any] = []

    def run(method: str, request: dict, params: Any = None, **how: Any) -> tuple[dict, None]:
        tasks.append((method, request | (params or {})))
        return {"status": "SUBMITTED"}, None

    monkeypatch.setattr("monailabel.utils.async_tasks.task.AsyncTask.run", run)
    return tasks


@pytest.fixture
def ask(app: SemisegApp, monkeypatch: pytest.MonkeyPatch) -> Ask:
    for module in (routes, activelearning, train, scoring):
        monkeypatch.setattr(module, "app_instance", lambda: app)
    server = FastAPI()
    for part in (activelearning, train, scoring, batch_infer):
        server.include_router(part.router)
    routes.put_in_place(server)
    answer_in_sentences(server)

    def asked(method: str, path: str, **options: Any) -> httpx.Response:
        async def request() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app=server), base_url="http://server") as client:
                return await client.request(method, path, **options)

        return asyncio.run(request())

    return asked


def test_a_training_starts_and_is_seen_at_once(ask: Ask, started: list[Any], app: SemisegApp) -> None:
    answer = ask("POST", "/train/semiseg", json={"epochs": 2, "client_id": "x"})
    assert answer.json() == {"status": "SUBMITTED"}
    assert started == [("train", {"model": "semiseg", "epochs": 2, "client_id": "x"})]
    assert app._trainers["semiseg"].file.read()["status"] == "running"  # type: ignore[attr-defined]


def test_ohif_gives_the_settings_by_model(ask: Ask, started: list[Any]) -> None:
    answer = ask("POST", "/train/", json={"semiseg": {"epochs": 2}})
    assert answer.json() == {"semiseg": {"result": {"status": "SUBMITTED"}, "detail": None}}
    assert started == [("train", {"model": "semiseg", "epochs": 2})]
    assert ask("POST", "/train/", json={}).status_code == 200


def test_a_training_that_cannot_succeed_is_not_started(ask: Ask, started: list[Any], app: SemisegApp) -> None:
    for path, body, status in (
        ("/train/other", {}, 404),
        ("/train/semiseg", {"method": "magic"}, 400),
        ("/train/", {"semiseg": {"method": "magic"}}, 400),
    ):
        assert ask("POST", path, json=body).status_code == status
    with app.folder.lock("training"):
        assert "under way" in ask("POST", "/train/semiseg").json()["detail"]
    for study in app.datastore().get_labeled_images():
        app.datastore().remove_image(study)
    assert "labelled" in ask("POST", "/train/semiseg").json()["detail"]
    assert started == []


def test_stopping_nothing_is_fine(ask: Ask) -> None:
    answer = ask("DELETE", "/train/")
    assert (answer.status_code, answer.json()) == (200, None)


def test_the_next_study_or_why_there_is_none(ask: Ask, app: SemisegApp) -> None:
    found = ask("POST", "/activelearning/random", json={"client_id": "x"}).json()
    assert found["id"] in app.datastore().get_unlabeled_images()
    assert found["name"] == f"{found['id']}.nii.gz"
    assert [(each.study, each.client) for each in app.scores.leases.open()] == [(found["id"], "x")]
    for study in app.datastore().get_unlabeled_images():
        app.datastore().remove_image(study)
    assert ask("POST", "/activelearning/random").json() == {"detail": "All 3 studies are labelled."}
    for study in app.datastore().list_images():
        app.datastore().remove_image(study)
    assert "no studies" in ask("POST", "/activelearning/random").json()["detail"]
    assert ask("POST", "/activelearning/luck").status_code == 404


def test_scoring_and_batches_are_checked_before_they_start(
    ask: Ask, started: list[Any], publish: Callable[..., str]
) -> None:
    assert ask("POST", "/scoring/luck").status_code == 404
    assert ask("POST", "/batch/infer/other").status_code == 404
    assert ask("POST", "/batch/infer/semiseg").status_code == 409
    assert started == []
    publish()
    assert ask("POST", "/scoring/dice").status_code == 200
    assert ask("POST", "/batch/infer/semiseg", params={"images": "unlabeled"}).status_code == 200
    assert [method for method, _ in started] == ["scoring", "batch_infer"]
