"""The rules of choosing, on a store filled by hand."""

from collections import Counter
from pathlib import Path

import pytest

from lib.config import STRATEGIES as CONFIGURED
from lib.errors import NotFoundError
from lib.selection.choose import STRATEGIES, choose, choose_batch, describe
from lib.selection.store import FEATURES, ScoreStore


@pytest.fixture
def store(tmp_path: Path) -> ScoreStore:
    store = ScoreStore(tmp_path / "scores.sqlite")
    for image, score in {"a": 0.2, "b": 0.7, "c": 0.5}.items():
        store.put(image, "m", score, {}, 1.0)
    return store


def test_uncertainty_takes_the_highest_score(store: ScoreStore):
    choice = choose("uncertainty", ["a", "b", "c"], store, "m", seed=0)
    assert (choice.id, choice.score, choice.rank, choice.pool) == ("b", 0.7, 1, 3)
    assert "0.700" in choice.reason


def test_only_candidates_are_chosen(store: ScoreStore):
    choice = choose("uncertainty", ["a", "c"], store, "m", seed=0)
    assert (choice.id, choice.pool) == ("c", 2)


def test_studies_without_a_score_come_after_the_scored(store: ScoreStore):
    choice = choose("uncertainty", ["new", "a"], store, "m", seed=0)
    assert choice.id == "a"
    assert "1 have no score" in choice.reason
    drawn = {choose("uncertainty", ["x", "y", "z"], store, "m", seed=seed).id for seed in range(30)}
    assert drawn == {"x", "y", "z"}


def test_equal_scores_are_not_decided_by_the_name(store: ScoreStore):
    store.put("d", "m", 0.7, {}, 1.0)
    assert {choose("uncertainty", list("abcd"), store, "m", seed=seed).id for seed in range(20)} == {"b", "d"}


@pytest.mark.parametrize("model", [None, "another model"])
def test_uncertainty_without_scores_is_random_and_says_so(store: ScoreStore, model: str | None):
    choices = [choose("uncertainty", ["a", "b", "c"], store, model, seed=seed) for seed in range(30)]
    assert {choice.id for choice in choices} == {"a", "b", "c"}
    assert all(choice.score is None and choice.rank is None for choice in choices)
    assert "at random" in choices[0].reason
    assert ("has scored none" if model else "there is no model") in choices[0].reason


def test_uncertainty_before_any_store_is_random():
    assert choose("uncertainty", ["a"], None, None, seed=0).id == "a"


def test_random_is_replayable_and_even(store: ScoreStore):
    pool = ["c", "a", "b", "d"]
    drawn = [choose("random", pool, store, "m", seed=seed).id for seed in range(400)]
    assert drawn == [choose("random", sorted(pool) * 2, store, "m", seed=seed).id for seed in range(400)]
    counts = Counter(drawn)
    assert set(counts) == set(pool)
    assert all(60 < count < 140 for count in counts.values())  # 100 each, five sigma


@pytest.mark.parametrize("strategy", list(STRATEGIES))
def test_studies_the_model_could_not_read_come_last(store: ScoreStore, strategy: str):
    store.put_failure("broken", "m", "truncated", 1.0)
    drawn = {choose(strategy, ["broken", "new"], store, "m", seed=seed).id for seed in range(20)}
    assert drawn == {"new"}
    assert choose(strategy, ["broken"], store, "m", seed=0).id == "broken"
    batch = choose_batch(strategy, ["broken", "new", "a"], store, "m", 0, 5)
    assert {each.id for each in batch[:2]} == {"new", "a"}
    assert (batch[2].id, batch[2].score) == ("broken", None)
    assert "could not be read" in batch[2].reason


@pytest.mark.parametrize("strategy", list(STRATEGIES))
def test_before_a_model_they_are_those_without_features(store: ScoreStore, strategy: str):
    store.put_failure("broken", FEATURES, "truncated", 1.0)
    assert {choose(strategy, ["broken", "new"], store, None, seed=seed).id for seed in range(20)} == {"new"}


@pytest.mark.parametrize("strategy", list(STRATEGIES))
def test_nothing_left_is_none(store: ScoreStore, strategy: str):
    assert choose(strategy, [], store, "m", seed=0) is None
    assert choose_batch(strategy, [], store, "m", 0, 3) == []


def test_an_unknown_strategy_names_the_right_ones(store: ScoreStore):
    with pytest.raises(NotFoundError, match=r"'best'.*hybrid, uncertainty, .*random"):
        choose("best", ["a"], store, "m", seed=0)


def test_strategies_are_those_of_the_settings_each_described():
    assert tuple(STRATEGIES) == CONFIGURED
    assert list(describe()) == list(STRATEGIES)
    assert all(text.endswith(".") and text.count(". ") == 0 for text in describe().values())
