"""Readers at one server: what is open with whom, what is skipped, what is said when nothing is left."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from monailabel.endpoints import activelearning

from lib.errors import StudyError
from lib.selection.store import FEATURES
from lib.server import routes, worklist
from lib.server.app import SemisegApp
from lib.server.cases import case_of
from lib.server.failures import answer_in_sentences

UNLABELLED = {"phantom_003", "phantom_004", "phantom_005"}
Ask = Callable[..., httpx.Response]


@pytest.fixture
def ask(app: SemisegApp, monkeypatch: pytest.MonkeyPatch) -> Ask:
    for module in (routes, activelearning):
        monkeypatch.setattr(module, "app_instance", lambda: app)
    server = FastAPI()
    server.include_router(activelearning.router)
    routes.put_in_place(server, worklist.router)
    answer_in_sentences(server)

    def asked(method: str, path: str, status: int = 200, **options: Any) -> Any:
        async def request() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app=server), base_url="http://server") as client:
                return await client.request(method, path, **options)

        answer = asyncio.run(request())
        assert answer.status_code == status, answer.text
        return answer.json()

    return asked


def next_for(ask: Ask, reader: str | None, strategy: str = "random", **params: Any) -> Any:
    return ask("POST", f"/activelearning/{strategy}", json=params | ({"client_id": reader} if reader else {}))


def test_two_readers_are_never_offered_the_same_study(ask: Ask) -> None:
    readers = ("ann", "ben", "eve")
    assert {next_for(ask, reader)["id"] for reader in readers} == UNLABELLED
    assert {each["client"] for each in ask("GET", "/worklist/")} == set(readers)
    late = next_for(ask, "zoe")
    assert "id" not in late
    assert late["detail"].startswith("3 of 6 studies are labelled; 3 are open with other readers")


def test_a_released_study_is_offered_to_others(ask: Ask) -> None:
    studies = {reader: next_for(ask, reader)["id"] for reader in ("ann", "ben", "eve")}
    assert ask("DELETE", f"/worklist/{studies['ben']}/lease", params={"client_id": "ann"})["changed"] is False
    assert ask("DELETE", f"/worklist/{studies['ben']}/lease", params={"client_id": "ben"})["changed"] is True
    assert next_for(ask, "zoe")["id"] == studies["ben"]


def test_a_skipped_study_is_offered_to_others_only(ask: Ask) -> None:
    for study in sorted(UNLABELLED)[:2]:
        ask("POST", f"/worklist/{study}/skip", params={"client_id": "ann"})
    assert {next_for(ask, "ann")["id"] for _ in range(9)} == {"phantom_005"}
    ask("POST", "/worklist/phantom_005/skip", params={"client_id": "ann"})
    assert "you skipped 3" in next_for(ask, "ann")["detail"]
    assert {next_for(ask, None)["id"] for _ in range(60)} == UNLABELLED, "skipping gave it back"
    assert ask("DELETE", "/worklist/phantom_004/skip", params={"client_id": "ann"})["changed"] is True
    assert next_for(ask, "ann")["id"] == "phantom_004"


def test_what_cannot_be_skipped_is_told(ask: Ask) -> None:
    assert "no study 'x'" in ask("POST", "/worklist/x/skip", 404, params={"client_id": "ann"})["detail"]
    assert "needs a name" in ask("POST", "/worklist/phantom_003/skip", 400, params={"client_id": ""})["detail"]
    ask("POST", "/worklist/phantom_003/skip", 422)


def test_the_label_that_the_model_doubts_most_is_reviewed(
    ask: Ask, app: SemisegApp, publish: Callable[..., str]
) -> None:
    publish()
    store = app.datastore()
    dice = {"phantom_000": 0.9, "phantom_001": 0.2, "phantom_002": 0.5}
    for study, value in dice.items():
        version = "0001" if study != "phantom_002" else "another one"
        store.update_label_info(study, "final", {"dice": {"dice": {"organ": value}, "version": version}})
    found = next_for(ask, "ann", review=True)
    assert found["id"] == "phantom_001"
    assert found["score"] == pytest.approx(0.8)
    assert found["pool"] == 2, "what another version said is no doubt of this one"


def test_a_study_that_cannot_be_opened_is_not_left_open_with_the_reader(
    ask: Ask, app: SemisegApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = app.datastore()
    there, asked = store.get_image_uri, []

    def all_but_the_first(study: str) -> str:
        asked.append(study)
        if study == asked[0]:
            raise StudyError(study, "it cannot be fetched")
        return there(study)

    monkeypatch.setattr("lib.server.datastore.FolderDatastore.cases", lambda self: cases)
    cases = [case_of(store, study) for study in store.list_images()]
    monkeypatch.setattr(store, "get_image_uri", all_but_the_first)
    found = next_for(ask, "ann")["id"]
    assert found != asked[0]
    assert [each["study"] for each in ask("GET", "/worklist/")] == [found]


def test_before_a_model_studies_are_chosen_by_look(ask: Ask, app: SemisegApp) -> None:
    app._describe()
    assert app.describing.thread
    app.describing.thread.join(60)
    assert app.scores.missing(app.datastore().list_images(), FEATURES) == [], "labelled ones too, to be compared with"
    assert "typical of" in next_for(ask, "ann", "hybrid")["reason"]
    assert "typical of" in next_for(ask, "ben", "cold_start")["reason"]


def test_the_outlook_says_what_is_missing_and_then_what_labels_bring(ask: Ask, app: SemisegApp) -> None:
    assert "needs 3 trainings" in ask("GET", "/worklist/outlook")["reason"]
    for labels, dice in ((4, 0.7), (8, 0.8), (12, 0.84)):
        run = app.folder.runs / str(labels)
        run.mkdir(parents=True)
        sides = {"training": ["a"] * (labels - 1), "validation": ["b"]}
        (run / "manifest.json").write_text(json.dumps({"cases": sides, "dice": dice}))
    found = ask("GET", "/worklist/outlook", params={"more": 4})
    assert found["low"] < found["gain"] < found["high"]
    assert found["reason"].startswith("4 more labels are expected to bring +0.0")
    ask("GET", "/worklist/outlook", status=422, params={"more": 0})
