"""Who is offered what, and what is said when nothing is left."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from lib.errors import ConfigError, NotFoundError
from lib.selection.offer import Nothing, offer, review
from lib.selection.pool import Choice
from lib.selection.store import ScoreStore
from lib.selection.strategies import STRATEGIES

STUDIES = ["a", "b", "c", "d"]


@pytest.fixture
def store(tmp_path: Path) -> ScoreStore:
    store = ScoreStore(tmp_path / "scores.sqlite", now=lambda: 0.0)
    for study, score in {"a": 0.9, "b": 0.7, "c": 0.5, "d": 0.1}.items():
        store.put(study, "m", score, {}, 1.0)
    return store


def ask(store: ScoreStore, client: str | None = "ann", labelled: set[str] | None = None) -> Choice | Nothing:
    return offer("uncertainty", STUDIES, labelled or set(), store, "m", 0, client, 10)


def test_what_is_offered_is_open_with_the_reader_and_not_offered_to_others(store: ScoreStore) -> None:
    assert ask(store, "ann").id == "a"
    assert [(lease.study, lease.client, lease.until) for lease in store.leases.open()] == [("a", "ann", 600.0)]
    assert ask(store, "ann").id == "a", "it is still this reader's"
    assert ask(store, "bob").id == "b"
    assert (ask(store, "cat").id, ask(store, "cat").pool) == ("c", 2)


def test_what_is_labelled_or_skipped_is_not_offered(store: ScoreStore) -> None:
    assert ask(store, labelled={"a"}).id == "b"
    store.leases.skip("b", "ann")
    assert ask(store, labelled={"a"}).id == "c"
    assert ask(store, "bob", labelled={"a"}).id == "b", "another reader did not skip it"


def test_a_reader_without_a_name_is_offered_what_is_free_and_opens_nothing(store: ScoreStore) -> None:
    ask(store, "ann")
    assert ask(store, None).id == "b"
    assert [lease.study for lease in store.leases.open()] == ["a"]


def test_nothing_left_says_where_the_studies_are(store: ScoreStore) -> None:
    done = ask(store, labelled=set(STUDIES))
    assert (done, str(done)) == (Nothing(4, 4, 0, 0), "All 4 studies are labelled.")
    store.leases.lease("c", "bob", 10)
    busy = ask(store, labelled={"a", "b", "d"})
    assert busy == Nothing(4, 3, 0, 1)
    assert str(busy).startswith("3 of 4 studies are labelled; 1 are open with other readers")
    store.leases.skip("d", "ann")
    mixed = ask(store, labelled={"a", "b"})
    assert mixed == Nothing(4, 2, 1, 1)
    assert "you skipped 1" in str(mixed)
    assert "open with other readers" in str(mixed)
    store.leases.skip("c", "ann")
    skipped = ask(store, labelled={"a", "b"})
    assert skipped == Nothing(4, 2, 2, 0), "skipped counts before open"
    assert "open" not in str(skipped)
    assert "no studies yet" in str(offer("random", [], set(), store, None, 0, "ann"))
    assert [lease.study for lease in store.leases.open()] == ["c"], "nothing was opened for a reader with nothing left"


@pytest.mark.parametrize("strategy", ["diverse", "hybrid"])
def test_what_others_have_open_needs_no_more_like_it(store: ScoreStore, strategy: str) -> None:
    for study, vector in {"a": [1.0, 0.0], "b": [1.0, 0.01], "c": [0.0, 1.0]}.items():
        store.put(study, "m", 0.5, {}, 1.0, embedding=np.array(vector))
    store.leases.lease("a", "ann", 10)
    for seed in range(5):
        found = offer(strategy, ["a", "b", "c"], set(), store, "m", seed, None)
        assert found.id == "c", "a is being labelled, and b is its twin"


def test_a_bad_request_is_refused_and_opens_nothing(store: ScoreStore) -> None:
    with pytest.raises(NotFoundError, match="'best'"):
        offer("best", STUDIES, set(), store, "m", 0, "ann")
    with pytest.raises(ConfigError, match="client_id"):
        ask(store, "")
    assert store.leases.open() == []


@pytest.mark.parametrize("strategy", list(STRATEGIES))
def test_readers_one_after_another_get_every_study_once(store: ScoreStore, strategy: str) -> None:
    found = [offer(strategy, STUDIES, set(), store, "m", 7, f"reader {number}") for number in range(5)]
    assert sorted(each.id for each in found if isinstance(each, Choice)) == STUDIES
    assert found[4] == Nothing(4, 0, 0, 4)


def _race(path: Path, reader: int, barrier: object, answers: object) -> None:
    store = ScoreStore(path)
    barrier.wait()  # type: ignore[attr-defined]
    for time in range(5):
        found = offer("uncertainty", [f"{n}" for n in range(60)], set(), store, "m", 0, f"reader {reader}-{time}")
        answers.put(found.id)  # type: ignore[attr-defined,union-attr]


def test_eight_processes_that_ask_at_once_never_get_the_same_study(tmp_path: Path) -> None:
    path = tmp_path / "scores.sqlite"
    context = multiprocessing.get_context("fork")
    barrier, answers = context.Barrier(8), context.Queue()
    processes = [context.Process(target=_race, args=(path, reader, barrier, answers)) for reader in range(8)]
    for process in processes:
        process.start()
    got = [answers.get(timeout=60) for _ in range(40)]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 8
    assert len(set(got)) == 40


def test_threads_of_one_server_never_get_the_same_study(store: ScoreStore) -> None:
    studies = [f"{number}" for number in range(40)]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda n: offer("random", studies, set(), store, "m", 3, f"reader {n}"), range(40)))
    assert sorted(each.id for each in found) == sorted(studies)


def test_the_label_that_the_model_doubts_most_is_looked_at_again(store: ScoreStore) -> None:
    doubts = {"a": 0.1, "b": 0.6, "c": float("nan"), "d": 0.4}
    first = review(doubts, store, "ann", 10)
    assert (first.id, first.score, first.rank, first.pool) == ("b", 0.6, 1, 3)
    assert "doubts this one most" in first.reason
    second = review(doubts, store, "bob", 10)
    assert (second.id, second.rank, second.pool) == ("d", 2, 2), "b is open with ann"
    store.leases.skip("d", "bob")
    assert review(doubts, store, "bob", 10).id == "a"
    assert review({"b": 0.6}, store, "bob") == Nothing(1, 0, 0, 1)
    assert review({}, store, "bob") == Nothing(0, 0, 0, 0)
