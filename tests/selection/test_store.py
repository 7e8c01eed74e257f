"""The store: what is written is found, by several processes, and a bad file is never the end."""

import logging
import multiprocessing
import sqlite3
from pathlib import Path

import pytest

from lib.errors import SemisegError
from lib.selection.store import VERSION, ScoreStore


@pytest.fixture
def store(tmp_path: Path) -> ScoreStore:
    return ScoreStore(tmp_path / "scores.sqlite")


def test_scores_belong_to_image_and_model(store: ScoreStore):
    store.put("a", "old", 0.1, {}, 1.0)
    store.put("a", "new", 0.2, {}, 1.0)
    store.put("b", "new", 0.3, {}, 1.0)
    assert store.get("old") == {"a": 0.1}
    assert store.get("new") == {"a": 0.2, "b": 0.3}
    assert store.get("unknown") == {}


def test_a_later_score_takes_the_place_of_an_earlier_one(store: ScoreStore):
    store.put_failure("a", "m", "Study 'a': broken.", 0.1)
    store.put("a", "m", 0.4, {"region": "foreground", "classes": {"1": 0.4}}, 2.5)
    assert store.get("m") == {"a": 0.4}
    assert store.failures("m") == {}
    row = store.row("a", "m")
    assert (row.score, row.cause, row.seconds) == (0.4, None, 2.5)
    assert row.fields == {"region": "foreground", "classes": {"1": 0.4}}
    assert row.when > 1.7e9
    assert store.row("a", "other") is None


def test_missing_are_those_neither_scored_nor_failed_with_this_model(store: ScoreStore):
    store.put("scored", "m", 0.1, {}, 1.0)
    store.put_failure("failed", "m", "why", 1.0)
    store.put("other", "older model", 0.1, {}, 1.0)
    assert store.missing(["new", "failed", "other", "scored"], "m") == ["new", "other"]
    assert store.failures("m") == {"failed": "why"}
    assert store.get("m") == {"scored": 0.1}


def test_forget_drops_an_image_under_every_model(store: ScoreStore):
    for image in ("gone", "stays"):
        for model in ("old", "new"):
            store.put(image, model, 0.1, {}, 1.0)
    store.forget(["gone", "never known"])
    assert store.get("old") == store.get("new") == {"stays": 0.1}


def test_rows_outlive_the_store(store: ScoreStore):
    store.put("a", "m", 0.1, {}, 1.0)
    assert ScoreStore(store.path).get("m") == {"a": 0.1}


def _write(path: Path, writer: int) -> None:
    store = ScoreStore(path)
    for number in range(20):
        store.put(f"{writer}-{number}", "m", number / 20, {}, 0.0)


def test_several_processes_make_and_fill_one_store(tmp_path: Path):
    path = tmp_path / "scores.sqlite"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(path, writer)) for writer in range(4)]
    for process in writers:
        process.start()
    for process in writers:
        process.join()
    assert [process.exitcode for process in writers] == [0] * 4
    assert ScoreStore(path).get("m") == {f"{w}-{n}": n / 20 for w in range(4) for n in range(20)}


def test_a_store_of_a_later_version_is_refused_and_left_alone(store: ScoreStore):
    store.put("a", "m", 0.1, {}, 1.0)
    with sqlite3.connect(store.path) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(SemisegError, match="later semiseg"):
        ScoreStore(store.path)
    with sqlite3.connect(store.path) as connection:
        assert connection.execute("SELECT count(*) FROM scores").fetchone() == (1,)


def test_a_file_that_is_no_database_is_set_aside_and_said_so(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = tmp_path / "scores.sqlite"
    path.write_bytes(b"no database " * 500)
    with caplog.at_level(logging.WARNING):
        store = ScoreStore(path)
    store.put("a", "m", 0.1, {}, 1.0)
    assert store.get("m") == {"a": 0.1}
    (aside,) = tmp_path.glob("scores.sqlite.damaged-*")
    assert aside.read_bytes() == b"no database " * 500
    assert "damaged" in caplog.text
    assert aside.name in caplog.text


def test_damage_inside_the_file_found_while_it_is_used(store: ScoreStore, tmp_path: Path):
    with sqlite3.connect(store.path) as connection:  # at once, for more than one page
        rows = [("m", f"study-{number:05d}", 0.5, None, "{}", 1.0, 0.0) for number in range(300)]
        connection.executemany("INSERT INTO scores VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    connection.close()
    assert len(store.get("m")) == 300
    content = bytearray(store.path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)  # the header stays whole
    store.path.write_bytes(content)
    assert store.get("m") == {}
    store.put("a", "m", 0.1, {}, 1.0)
    assert store.get("m") == {"a": 0.1}
    assert len(list(tmp_path.glob("scores.sqlite.damaged-*"))) == 1


def test_the_journal_goes_aside_with_its_file(store: ScoreStore, tmp_path: Path):
    reader = sqlite3.connect(store.path)  # an open connection keeps the journal on the disk
    reader.execute("SELECT * FROM scores").fetchall()
    store.put("a", "m", 0.1, {}, 1.0)
    store.path.write_bytes(b"no database " * 500)
    assert store.get("m") == {}
    reader.close()
    assert len(list(tmp_path.glob("scores.sqlite.damaged-*-wal"))) == 1


def test_a_deleted_file_is_made_again(store: ScoreStore):
    store.put("a", "m", 0.1, {}, 1.0)
    for file in store.path.parent.glob("scores.sqlite*"):
        file.unlink()
    assert store.get("m") == {}


def test_a_store_that_cannot_be_opened_is_a_sentence(tmp_path: Path):
    with pytest.raises(SemisegError, match="cannot be read or written"):
        ScoreStore(tmp_path / "no such folder" / "scores.sqlite")
    (tmp_path / "folder.sqlite").mkdir()
    with pytest.raises(SemisegError, match="cannot be read or written"):
        ScoreStore(tmp_path / "folder.sqlite")
