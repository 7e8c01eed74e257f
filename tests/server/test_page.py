"""The routes of the project page over the whole app: who may, what is fresh, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from lib.server.app import SemisegApp
from tests.server.whole_app import client, whole_app

BLOCKS = ("now", "model", "next", "labels", "budget")


@pytest.fixture
def asker(app: SemisegApp, tmp_path: Path, studies: Path) -> Iterator[TestClient]:
    """The studies have been described: what the background writes is news to the page."""
    with whole_app(app, str(tmp_path), str(studies)) as served:
        if app.describing.thread:
            app.describing.thread.join(60)
        yield client(served)


def data(asker: TestClient, block: str, **query: Any) -> Any:
    answer = asker.get(f"/semiseg/data/{block}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_page_takes_nothing_from_elsewhere_and_nothing_inline(asker: TestClient) -> None:
    page = asker.get("/semiseg/")
    assert page.headers["content-security-policy"].startswith("default-src 'self';")
    assert "unsafe" not in page.headers["content-security-policy"]
    for inline in ("<style", "style=", "onclick", "http:", "https:"):
        assert inline not in page.text
    assert asker.get("/semiseg/static/page.css").headers["content-type"].startswith("text/css")
    assert asker.get("/semiseg/static/main.js").headers["content-type"].startswith("text/javascript")
    for name in ("nothing.js", "..%2f__init__.py"):
        assert asker.get(f"/semiseg/static/{name}").status_code == 404


def test_before_the_first_model_each_block_answers(asker: TestClient) -> None:
    found = {block: data(asker, block) for block in BLOCKS}
    assert found["now"]["project"] == {"name": "studies", "labelled": 3, "unlabelled": 3}
    assert found["now"]["user"]["admin"] is True
    assert found["now"]["training"]["running"] is False
    assert found["model"]["live"] is None
    assert [row["study"] for row in found["next"]["rows"]] == ["phantom_003", "phantom_004", "phantom_005"]
    assert found["labels"]["total"] == 3
    assert found["budget"]["expected"] == []
    answer = asker.get("/semiseg/picture/phantom_003")
    assert answer.status_code == 409
    assert "no model yet" in answer.json()["detail"]


def test_what_has_not_changed_is_not_sent_again(asker: TestClient) -> None:
    for path in ("/semiseg/", "/semiseg/static/main.js", "/semiseg/data/next", "/semiseg/data/now"):
        first = asker.get(path)
        assert "no-cache" in first.headers["cache-control"]
        again = asker.get(path, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b""), path


def test_a_stamp_changes_with_what_its_block_shows(
    asker: TestClient, app: SemisegApp, publish: Callable[..., str]
) -> None:
    def changed(before: dict[str, str]) -> set[str]:
        now = data(asker, "now")["stamps"]
        return {block for block in now if now[block] != before[block]}

    stamps = data(asker, "now")["stamps"]
    assert changed(stamps) == set()
    assert asker.post("/worklist/phantom_003/skip", params={"client_id": "ann"}).status_code == 200
    assert "next" in changed(stamps)
    assert "model" not in changed(stamps)
    rows = {row["study"]: row["skipped"] for row in data(asker, "next", client_id="ann")["rows"]}
    assert rows == {"phantom_003": True, "phantom_004": False, "phantom_005": False}
    publish()
    assert changed(stamps) == {"model", "next", "labels", "budget"}
    assert data(asker, "model")["live"] == "0001"


def test_scores_and_leases_are_those_of_the_store(
    asker: TestClient, app: SemisegApp, publish: Callable[..., str]
) -> None:
    publish()
    live = app.live.loaded()
    assert live
    app.scores.put("phantom_004", live.checksum, 0.5, {"classes": {"1": 0.6, "2": 0.4}}, 1.0)
    app.scores.leases.lease("phantom_004", "ben", 10)
    first = data(asker, "next")["rows"][0]
    assert (first["study"], first["rank"], first["score"], first["open_with"]) == ("phantom_004", 1, 0.5, "ben")
    assert first["classes"] == {"organ": 0.6, "lesion": 0.4}
    assert first["viewer"] is None, "a folder has no viewer"
    app.scores.put_failure("phantom_005", live.checksum, "Study 'phantom_005': it is empty.", 1.0)
    assert data(asker, "labels")["refused"] == [{"study": "phantom_005", "reason": "Study 'phantom_005': it is empty."}]


def test_pictures_are_drawn_on_demand_but_thumbnails_not_beside_a_training(
    asker: TestClient, app: SemisegApp, publish: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish()
    with monkeypatch.context() as patch:
        patch.setattr("lib.server.training.TrainingTask.running", lambda self: True)
        later = asker.get("/semiseg/picture/phantom_003")
        assert later.status_code == 202
        assert int(later.headers["retry-after"]) > 0
        assert asker.get("/semiseg/picture/phantom_003?uncertainty=true").content.startswith(b"\x89PNG")
        assert asker.get("/semiseg/picture/phantom_003").content.startswith(b"\x89PNG"), "it was made with the other"
    assert asker.get("/semiseg/picture/nothing").status_code == 404


def test_going_back_to_a_version_serves_it_and_is_noted(
    asker: TestClient, app: SemisegApp, publish: Callable[..., str]
) -> None:
    publish(0)
    publish(1)
    assert asker.post("/semiseg/versions/0001/live").json() == {"version": "0001"}
    assert data(asker, "model")["live"] == "0001"
    assert [each["live"] for each in data(asker, "model")["versions"]] == [False, True]
    assert data(asker, "labels")["events"][0]["what"] == "model restored"
    missing = asker.post("/semiseg/versions/0009/live")
    assert missing.status_code == 404
    assert "'0009'" in missing.json()["detail"]


def test_reports_are_served_as_they_lie_and_nothing_else(asker: TestClient, app: SemisegApp) -> None:
    run = app.folder.runs / "1"
    run.mkdir(parents=True)
    (run / "manifest.json").write_text(json.dumps({"method": "ideal"}))
    (run / "report.html").write_text("<p>whole")
    answer = asker.get("/semiseg/runs/1/report.html")
    assert answer.text == "<p>whole"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    for path in ("1/manifest.json", "2/report.html", "..%2f1/report.html", "1/..%2f..%2flive.pt"):
        assert asker.get(f"/semiseg/runs/{path}").status_code == 404, path


def test_what_went_wrong_lately_is_told_in_words(asker: TestClient) -> None:
    assert asker.post("/train/semiseg", json={"methode": "x"}).status_code == 400
    assert asker.post("/infer/semiseg?image=phantom_000").status_code == 409
    newest = data(asker, "now")["errors"][0]["text"]
    assert "no model yet" in newest.lower()
