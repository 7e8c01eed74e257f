"""The two long lists: studies by their scores, labels by their time; pages of fifty."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib.page.budget import budget_content
from lib.page.labels import labels_content
from lib.page.ranking import ROWS, next_content, ranked
from lib.selection.outlook import outlook
from lib.selection.store import ScoreStore

NAMES = {1: "organ", 2: "lesion"}


@pytest.fixture
def store(tmp_path: Path) -> ScoreStore:
    """Scores of a, b, c; e cannot be read, d was not tried."""
    store = ScoreStore(tmp_path / "scores.sqlite")
    for study, score in {"a": 0.2, "b": 0.7, "c": 0.4}.items():
        store.put(study, "m", score, {"region": "foreground", "classes": {1: score, 2: score / 2}}, 1.0)
    store.put_failure("e", "m", "Study 'e': it is empty.", 1.0)
    return store


def test_the_highest_score_comes_first_and_what_has_none_last(store: ScoreStore) -> None:
    assert ranked("edcba", store, "m") == [("b", 1), ("c", 2), ("a", 3), ("d", None), ("e", None)]
    assert ranked("ba", store, None) == [("a", None), ("b", None)]
    assert ranked("ba", store, "other") == [("a", None), ("b", None)]


def test_a_row_says_score_reason_and_who_has_it_open(store: ScoreStore) -> None:
    store.leases.lease("b", "ann", 60)
    store.leases.skip("c", "ben")
    content = next_content("abcde", store, "m", NAMES, "ben", 1)
    rows = {row["study"]: row for row in content["rows"]}
    assert (content["total"], content["scored"], content["pages"]) == (5, 3, 1)
    assert rows["b"]["score"] == 0.7
    assert rows["b"]["classes"] == {"organ": 0.7, "lesion": 0.35}
    assert rows["b"]["open_with"] == "ann"
    assert "least sure of this one" in rows["b"]["reason"]
    assert "most doubt in organ" in rows["b"]["reason"]
    assert "Number 3 of 3" in rows["a"]["reason"]
    assert rows["d"]["reason"] == "The live model has not scored it yet"
    assert rows["e"]["reason"] == "Study 'e': it is empty."
    assert [row["skipped"] for row in content["rows"]] == [False, True, False, False, False]
    assert not any(row["skipped"] for row in next_content("abcde", store, "m", NAMES, "ann", 1)["rows"])


def test_pages_hold_fifty_and_cover_all_once(store: ScoreStore) -> None:
    ids = [f"s{number:03d}" for number in range(120)]
    for number, study in enumerate(ids):
        store.put(study, "m", (number * 7 % 120) / 120, {}, 1.0)
    pages = [next_content(ids, store, "m", NAMES, "", page)["rows"] for page in (1, 2, 3)]
    assert [len(page) for page in pages] == [ROWS, ROWS, 20]
    scores = [row["score"] for page in pages for row in page]
    assert scores == sorted(scores, reverse=True)
    assert next_content(ids, store, "m", NAMES, "", 99)["page"] == 3, "beyond the last it is the last"


def label(version: str, dice: float, **more: object) -> dict[str, object]:
    return {"dice": {"dice": {"organ": dice, "lesion": dice - 0.2}, "version": version, "side": "training"}, **more}


def test_labels_newest_first_and_doubts_of_the_live_version_only() -> None:
    infos = {
        "a": label("0002", 0.9, ts=10, client_id="ann"),
        "b": label("0002", 0.4, ts=30, submitted_by="ben", client_id="slicer"),
        "c": label("0001", 0.3, ts=20, client_id="ann"),
        "d": {},
    }
    entries = [
        {"when": "1", "who": "ann", "what": "login", "from": "10.0.0.1"},
        {"when": "2", "who": "ann", "what": "label submitted", "study": "a", "from": "10.0.0.1"},
        {"when": "3", "who": "boss", "what": "training started", "from": "10.0.0.1"},
    ]
    content = labels_content(infos, "0002", {"x": "it is flat"}, entries, 1)
    assert [row["study"] for row in content["rows"]] == ["b", "c", "a", "d"]
    assert [(row["study"], row["dice"]) for row in content["doubted"]] == [
        ("b", pytest.approx(0.3)),
        ("a", pytest.approx(0.8)),
    ]
    assert content["compared"] == 2
    assert content["readers"] == [{"who": "ann", "labels": 2}, {"who": "ben", "labels": 1}, {"who": None, "labels": 1}]
    assert content["refused"] == [{"study": "x", "reason": "it is flat"}]
    assert [event["what"] for event in content["events"]] == ["training started", "label submitted"]
    assert not any("from" in event for event in content["events"]), "addresses are no affair of other readers"


def test_the_budget_is_the_outlook_in_steps() -> None:
    curve = [(4, 0.6), (8, 0.7), (12, 0.75), (12, 0.77)]
    content = budget_content(curve, {"a": 0.1, "b": 0.3}, ["a"])
    assert content["labels"] == 12
    assert content["dice"] == pytest.approx(0.76)
    for each in content["expected"]:
        assert each["gain"] == outlook(curve, each["more"]).gain
        assert each["labels"] == 12 + each["more"]
    assert content["outlook"]["reason"] == outlook(curve, 10, {"a": 0.1, "b": 0.3}, ["a"]).reason
    assert budget_content(curve[:2], {}, [])["expected"] == []
