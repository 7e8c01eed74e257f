"""Leases and skips by a clock that the test turns: what is offered to whom, and until when."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib.errors import ConfigError, NotReadyError
from lib.selection.leases import Lease
from lib.selection.store import ScoreStore
from tests.clock import Clock


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> ScoreStore:
    return ScoreStore(tmp_path / "scores.sqlite", now=clock)


def test_a_study_is_open_with_one_reader_at_a_time(store: ScoreStore) -> None:
    assert store.leases.lease("a", "ann", 10) == Lease("a", "ann", 1600.0)
    with pytest.raises(NotReadyError, match="'a' is open with another reader"):
        store.leases.lease("a", "bob", 10)
    assert store.leases.lease("b", "bob", 10).client == "bob"
    assert store.leases.taken("ann").leased == {"b"}
    assert store.leases.taken("bob").leased == {"a"}
    assert store.leases.taken(None).leased == {"a", "b"}, "a reader without a name has nothing open"


def test_a_lease_ends_by_itself(store: ScoreStore, clock: Clock) -> None:
    store.leases.lease("a", "ann", 10)
    clock.now += 599
    assert store.leases.taken("bob").leased == {"a"}
    clock.now += 1
    assert store.leases.taken("bob").leased == frozenset()
    assert store.leases.open() == []
    assert not store.leases.release("a"), "there was nothing to give back any more"
    assert store.leases.lease("a", "bob", 10) == Lease("a", "bob", 2200.0)


def test_the_same_reader_renews_it(store: ScoreStore, clock: Clock) -> None:
    store.leases.lease("a", "ann", 10)
    clock.now += 500
    assert store.leases.lease("a", "ann", 10).until == 2100.0
    clock.now += 500
    assert store.leases.open() == [Lease("a", "ann", 2100.0)]


def test_it_is_given_back_by_its_reader_or_by_anyone_on_purpose(store: ScoreStore) -> None:
    store.leases.lease("a", "ann", 10)
    assert not store.leases.release("a", "bob")
    assert not store.leases.release("gone", "ann")
    assert store.leases.taken("bob").leased == {"a"}
    assert store.leases.release("a", "ann")
    store.leases.lease("a", "bob", 10)
    assert store.leases.release("a")
    assert store.leases.open() == []


def test_open_studies_are_listed_in_the_order_in_which_they_end(store: ScoreStore) -> None:
    for study, minutes in (("a", 30), ("b", 10), ("c", 20)):
        store.leases.lease(study, "ann", minutes)
    assert [lease.study for lease in store.leases.open()] == ["b", "c", "a"]


def test_a_skip_is_of_one_reader_and_gives_the_study_back(store: ScoreStore) -> None:
    store.leases.lease("a", "ann", 10)
    store.leases.lease("b", "bob", 10)
    store.leases.skip("a", "ann")
    store.leases.skip("a", "ann")
    store.leases.skip("b", "ann")
    assert store.leases.taken("ann").skipped == {"a", "b"}
    assert store.leases.taken("bob").skipped == frozenset()
    assert store.leases.taken("bob").leased == frozenset()
    assert [lease.study for lease in store.leases.open()] == ["b"], "another's lease stays"
    assert store.leases.unskip("a", "ann")
    assert not store.leases.unskip("a", "ann")
    assert store.leases.taken("ann").skipped == {"b"}


def test_leases_and_skips_outlive_the_store(store: ScoreStore, clock: Clock) -> None:
    store.leases.lease("a", "ann", 10)
    store.leases.skip("b", "bob")
    again = ScoreStore(store.path, now=clock).leases.taken("bob")
    assert (again.leased, again.skipped) == ({"a"}, {"b"})


def test_a_choice_that_fails_opens_nothing(store: ScoreStore) -> None:
    def fails(taken: object) -> str:
        raise NotReadyError("no")

    with pytest.raises(NotReadyError):
        store.leases.lease_one(fails, "ann", 10)
    assert store.leases.lease_one(lambda taken: None, "ann", 10) is None
    assert store.leases.open() == []
    assert store.leases.lease("a", "ann", 10)


@pytest.mark.parametrize("minutes", [0, -1, float("nan"), float("inf")])
def test_a_lease_needs_a_length(store: ScoreStore, minutes: float) -> None:
    with pytest.raises(ConfigError, match="minutes"):
        store.leases.lease("a", "ann", minutes)


def test_a_reader_needs_a_name(store: ScoreStore) -> None:
    leases = store.leases
    for refused in (lambda: leases.lease("a", "", 1), lambda: leases.skip("a", ""), lambda: leases.unskip("a", "")):
        with pytest.raises(ConfigError, match="client_id"):
            refused()
