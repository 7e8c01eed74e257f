"""The store: what is written is found, by several processes, and a bad file is never the end."""

import logging
import multiprocessing
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from lib.errors import SemisegError
from lib.selection import store as module
from lib.selection.database import VERSION
from lib.selection.store import FEATURES, ScoreStore

VERSION_1 = """
CREATE TABLE scores (
    model TEXT NOT NULL, id TEXT NOT NULL, score REAL, cause TEXT, fields TEXT NOT NULL, seconds REAL NOT NULL,
    at REAL NOT NULL, PRIMARY KEY (model, id), CHECK ((score IS NULL) <> (cause IS NULL))
) WITHOUT ROWID;
CREATE INDEX failures ON scores (model, id) WHERE cause IS NOT NULL;
"""


@pytest.fixture
def store(tmp_path: Path) -> ScoreStore:
    return ScoreStore(tmp_path / "scores.sqlite")


def written_back(store: ScoreStore) -> None:
    """All that is in the journal goes into the file."""
    with closing(sqlite3.connect(store.path)) as connection:
        assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0


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
            store.put(image, model, 0.1, {}, 1.0, embedding=np.ones(2))
        store.leases.lease(image, "reader", 5)
        store.leases.skip(image, "another")
    store.forget(["gone", "never known"])
    assert store.get("old") == store.get("new") == {"stays": 0.1}
    assert set(store.embeddings("old").places) == set(store.embeddings("new").places) == {"stays"}
    assert [lease.study for lease in store.leases.open()] == ["stays"]
    assert store.leases.taken("another").skipped == {"stays"}


def test_a_score_that_is_no_number_is_refused(store: ScoreStore):
    for score in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="not a number"):
            store.put("a", "m", score, {}, 1.0)
    assert store.row("a", "m") is None


def test_an_image_that_changed_is_missing_again(store: ScoreStore):
    store.put("a", "m", 0.1, {}, 1.0, state="as it was")
    store.put_failure("b", "m", "broken", 1.0, state="as it was")
    store.put("c", "m", 0.1, {}, 1.0)  # nobody said what it was like
    now = dict.fromkeys("abc", "as it was")
    assert store.missing("abcd", "m", now) == ["d"]
    assert store.missing("abc", "m", dict.fromkeys("abc", "mended")) == ["a", "b"]


def test_scores_and_embeddings_as_arrays(store: ScoreStore):
    store.put("a", "m", 0.1, {}, 1.0, foreground=30.0, embedding=np.array([1.0, 2.0]))
    store.put("b", "m", 0.2, {}, 1.0)
    store.put_failure("c", "m", "broken", 1.0)
    store.put_embedding("a", FEATURES, np.array([5.0, 6.0, 7.0]))
    nan = np.nan
    np.testing.assert_array_equal(store.scores("m").of("bacx"), [[0.2, nan], [0.1, 30], [nan, nan], [nan, nan]])
    np.testing.assert_array_equal(store.embeddings("m").of("bacx"), [[nan, nan], [1, 2], [nan, nan], [nan, nan]])
    assert store.embeddings("m").of("a").dtype == np.float32
    np.testing.assert_array_equal(store.embeddings(FEATURES).of("ab"), [[5, 6, 7], [nan] * 3])
    assert store.embeddings("unknown").of("ab").shape == (2, 0)
    assert store.scores("unknown").of("ab").shape == (2, 2)


def test_arrays_in_memory_follow_the_file(store: ScoreStore):
    other, rng, expected = ScoreStore(store.path), np.random.default_rng(0), {}
    for step in range(60):  # writes by others, replacements, deletions, and readings between them
        image = f"{rng.integers(12)}"
        if rng.random() < 0.2:
            other.forget([image])
            expected.pop(image, None)
        else:
            expected[image] = rng.normal(size=3).astype(np.float32) if rng.random() < 0.9 else None
            other.put(image, "m", 0.5 + step, {}, 1.0, embedding=expected[image])
        if rng.random() < 0.6:
            known = {study: vector for study, vector in expected.items() if vector is not None}
            table = store.embeddings("m")
            assert set(table.places) == set(expected)
            for study, vector in known.items():
                np.testing.assert_array_equal(table.of([study])[0], vector)
            assert np.isnan(table.of([study for study in expected if study not in known])).all()
            assert store.scores("m").places.keys() == expected.keys()
    assert store.embeddings("m") is store.embeddings("m"), "nothing changed, nothing is read"


def test_arrays_in_memory_do_not_outlive_their_file(store: ScoreStore):
    for image in ("a", "a", "b"):
        store.put(image, "m", 0.1, {}, 1.0)
    assert set(store.scores("m").places) == {"a", "b"}
    for file in store.path.parent.glob("scores.sqlite*"):
        file.unlink()
    for image in ("c", "d"):  # as many rows as there were
        store.put(image, "m", 0.1, {}, 1.0)
    assert set(store.scores("m").places) == {"c", "d"}


def test_the_embeddings_of_the_last_models_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "KEPT", 3)
    clock: Iterator[float] = iter(range(100))
    store = ScoreStore(tmp_path / "scores.sqlite", now=lambda: float(next(clock)))
    for model in ("m1", "m2", "m3", "m4"):
        store.put("a", model, 0.1, {}, 1.0, embedding=np.ones(2))
    store.put_embedding("a", FEATURES, np.ones(3))
    assert len(store.embeddings("m1").places) == 1, "in memory from now on"
    store.trim("m5")
    assert [len(store.embeddings(f"m{number}").places) for number in (1, 2, 3, 4)] == [0, 0, 1, 1]
    store.trim("m3")  # rolled back: of the others, the last two
    assert [len(store.embeddings(f"m{number}").places) for number in (3, 4)] == [1, 1]
    assert len(store.embeddings(FEATURES).places) == 1
    assert store.get("m1") == {"a": 0.1}, "scores are small: they stay"
    assert store.missing(["a"], "m1") == ["a"], "a model that comes back makes its embeddings again"


def test_a_store_of_version_1_is_brought_up_to_date(tmp_path: Path):
    path = tmp_path / "scores.sqlite"
    rows = [
        ("m", "a", 0.5, None, '{"region": "foreground", "classes": {"1": 0.5}}', 2.0, 1000.0),
        ("m", "b", 0.1, None, '{"region": "top", "classes": {}}', 2.0, 1001.0),
        ("m", "c", None, "truncated", "{}", 0.1, 1002.0),
        ("older", "a", 0.3, None, "{}", 2.0, 10.0),
    ]
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(VERSION_1 + "PRAGMA user_version = 1;")
        connection.executemany("INSERT INTO scores VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    store = ScoreStore(path)
    assert store.get("m") == {"a": 0.5, "b": 0.1}
    assert store.get("older") == {"a": 0.3}
    assert store.failures("m") == {"c": "truncated"}
    row = store.row("a", "m")
    assert (row.fields["classes"], row.seconds, row.when, row.foreground) == ({"1": 0.5}, 2.0, 1000.0, None)
    assert store.row("b", "m").foreground == 0, "nothing was predicted there"
    assert store.missing("ab", "m") == ["a", "b"], "they have no embedding yet"
    store.put("a", "m", 0.5, {}, 1.0, embedding=np.ones(2))
    assert store.leases.lease("a", "reader", 5).study == "a"
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert tables == {"scores", "embeddings", "leases", "skips", "sqlite_sequence"}


def test_a_full_disk_is_a_sentence_and_what_was_there_stays(store: ScoreStore, monkeypatch: pytest.MonkeyPatch):
    store.put("a", "m", 0.1, {}, 1.0)
    connect = store.database._connect

    def full() -> sqlite3.Connection:
        connection = connect()
        connection.execute("PRAGMA max_page_count = 1")  # as many pages as it has
        return connection

    monkeypatch.setattr(store.database, "_connect", full)
    with pytest.raises(SemisegError, match=r"full.*free space"):
        store.put("b", "m", 0.1, {}, 1.0, embedding=np.ones(100_000))
    monkeypatch.undo()
    assert store.get("m") == {"a": 0.1}


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
        rows = [("m", f"study-{number:05d}", 0.5, "{}", 1.0, 0.0) for number in range(300)]
        connection.executemany(
            "INSERT INTO scores (model, id, score, fields, seconds, at) VALUES (?, ?, ?, ?, ?, ?)", rows
        )
    connection.close()
    written_back(store)
    assert len(store.get("m")) == 300
    content = bytearray(store.path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)  # the header stays whole
    store.path.write_bytes(content)
    assert store.get("m") == {}
    store.put("a", "m", 0.1, {}, 1.0)
    assert store.get("m") == {"a": 0.1}
    assert len(list(tmp_path.glob("scores.sqlite.damaged-*[0-9]"))) == 1


def test_the_journal_goes_aside_with_its_file(store: ScoreStore, tmp_path: Path):
    written_back(store)
    store.put("a", "m", 0.1, {}, 1.0)
    store.path.write_bytes(b"no database " * 500)
    assert store.get("m") == {}
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


def test_the_latest_score_of_a_model(store: ScoreStore) -> None:
    assert store.latest("m") is None
    for when, image, model in ((20.0, "a", "m"), (10.0, "b", "m"), (30.0, "c", "other")):
        store.now = lambda when=when: when  # type: ignore[misc]
        store.put(image, model, 0.5, {}, 1.0)
    store.now = lambda: 40.0
    store.put_failure("d", "m", "unreadable", 1.0)
    assert store.latest("m") == 20.0


def test_distances_to_the_nearest_labelled_study(store: ScoreStore) -> None:
    for image, vector in {"a": [0.0, 0.0], "b": [3.0, 4.0], "c": [3.0, 0.0]}.items():
        store.put(image, "m", 0.5, {}, 1.0, embedding=np.array(vector))
    store.put("without", "m", 0.5, {}, 1.0)
    np.testing.assert_allclose(store.nearest("m", ["b", "new", "c", "without"], ["a"]), [25, np.nan, 9, np.nan])
    np.testing.assert_allclose(store.nearest("m", ["b", "c"], ["a", "c"]), [16, 0], atol=1e-5)
    np.testing.assert_allclose(store.nearest("m", ["b", "new"], ["without"]), [np.inf, np.nan])
