"""Each strategy on hand-made scores and embeddings, and what takes its place where it lacks something."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from lib.selection import strategies
from lib.selection.choose import choose, choose_batch
from lib.selection.store import FEATURES, ScoreStore
from lib.selection.strategies import STRATEGIES


@pytest.fixture
def store(tmp_path: Path) -> ScoreStore:
    return ScoreStore(tmp_path / "scores.sqlite")


def fill(store: ScoreStore, known: dict[str, tuple[float, list[float] | None]], model: str = "m") -> list[str]:
    """Study -> score, embedding."""
    for study, (score, vector) in known.items():
        embedding = None if vector is None else np.array(vector)
        store.put(study, model, score, {}, 1.0, foreground=10.0, embedding=embedding)
    return list(known)


def ids(strategy: str, candidates: list[str], store: ScoreStore, seed: int = 0, count: int = 1, **more) -> list[str]:
    return [each.id for each in choose_batch(strategy, candidates, store, "m", seed, count, **more)]


def test_uncertainty_ranks_a_batch(store: ScoreStore) -> None:
    fill(store, {"a": (0.2, None), "b": (0.7, None), "c": (0.5, None)})
    batch = choose_batch("uncertainty", ["a", "b", "c", "new"], store, "m", 0, 3)
    assert [(each.id, each.score, each.rank, each.pool) for each in batch] == [
        ("b", 0.7, 1, 4),
        ("c", 0.5, 2, 4),
        ("a", 0.2, 3, 4),
    ]
    assert "number 2 of 3" in batch[1].reason
    assert "1 have no score" in batch[1].reason


def test_diverse_takes_what_is_farthest_from_the_labelled(store: ScoreStore) -> None:
    angles = {"near": 5, "far": 90, "twin of far": 91, "between": 40, "labelled": 0}
    fill(store, {name: (0.5, [np.cos(np.radians(a)), np.sin(np.radians(a))]) for name, a in angles.items()})
    rest = [name for name in angles if name != "labelled"]
    # the farthest; then, as its twin is covered by it, what is nearest to neither
    assert ids("diverse", rest, store, count=2, labelled=["labelled"]) == ["twin of far", "between"]
    (first,) = choose_batch("diverse", rest, store, "m", 0, 1, labelled=["labelled"])
    assert f"{2 * np.sin(np.radians(91 / 2)):.3f}" in first.reason, "the chord between the two"
    assert ids("diverse", rest, store, labelled=["without an embedding"]) == ["between"], "the most typical"


def test_diverse_names_the_same_study_alone_as_first_of_a_batch(store: ScoreStore) -> None:
    rng = np.random.default_rng(0)
    names = fill(store, {f"{n}": (0.5, rng.normal(size=4).tolist()) for n in range(60)})
    for labelled in ([], names[:1], names[:30], names[5:40]):
        rest = [name for name in names if name not in labelled]
        (alone,) = choose_batch("diverse", rest, store, "m", 0, 1, labelled)
        first = choose_batch("diverse", rest, store, "m", 0, 2, labelled)[0]
        assert alone == first


def test_diverse_takes_studies_without_an_embedding_last(store: ScoreStore) -> None:
    fill(store, {"a": (0.5, [1.0, 0.0]), "b": (0.9, None), "c": (0.1, [0.0, 1.0])})
    batch = choose_batch("diverse", ["a", "b", "c"], store, "m", 0, 3)
    assert {each.id for each in batch[:2]} == {"a", "c"}
    assert (batch[2].id, batch[2].score, batch[2].rank) == ("b", 0.9, 1)
    assert "knows nothing of" in batch[2].reason


def test_hybrid_draws_a_short_list_with_chances_that_fall_with_a_power_of_the_rank(
    store: ScoreStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strategies, "LONGER", 1)
    monkeypatch.setattr(strategies, "BETA", 2.0)
    scores = {"a": 0.0, "b": 0.41, "c": 0.42}  # that the last two nearly agree does not matter
    ranks = {"a": 3, "b": 2, "c": 1}
    fill(store, {study: (score, None) for study, score in scores.items()})
    drawn = Counter(ids("hybrid", list(scores), store, seed)[0] for seed in range(600))
    total = sum(rank**-2 for rank in ranks.values())
    for study, rank in ranks.items():
        expected = 600 * rank**-2 / total
        assert abs(drawn[study] - expected) < 4 * np.sqrt(expected), "four sigma of a binomial at most"
    orders = Counter(tuple(ids("hybrid", list(scores), store, seed, count=2)) for seed in range(600))
    assert set(orders) == set(itertools.permutations("abc", 2)), "without replacement"


def test_hybrid_takes_of_the_doubtful_what_is_unlike_the_labelled(
    store: ScoreStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strategies, "LONGER", 5)
    monkeypatch.setattr(strategies, "BETA", 1e6)  # the five highest
    known = {f"same {n}": (0.9, [1.0, 0.01 * n]) for n in range(4)} | {"other": (0.8, [0.0, 1.0])}
    known |= {f"sure {n}": (1e-9, [-1.0, 0.0]) for n in range(20)} | {"labelled": (0.5, [1.0, 0.0])}
    candidates = [study for study in fill(store, known) if study != "labelled"]
    found = [choose("hybrid", candidates, store, "m", seed, ["labelled"]) for seed in range(10)]
    assert {each.id for each in found} == {"other"}, "the sure ones are farther but never on the short list"
    assert (found[0].score, found[0].rank, found[0].pool) == (0.8, 5, 25)
    assert "5 that were drawn from 25" in found[0].reason
    assert "drawn as unlike what is labelled (distance 1.414)" in found[0].reason


def test_hybrid_without_embeddings_says_that_it_could_not_compare(
    store: ScoreStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strategies, "BETA", 1e6)  # the order of the scores
    fill(store, {"a": (0.2, None), "b": (0.0, None)})
    batch = choose_batch("hybrid", ["a", "b"], store, "m", 0, 2)
    assert [each.id for each in batch] == ["a", "b"], "a score of 0 comes last"
    assert "no embeddings" in batch[0].reason


def test_foreground_random_draws_where_something_was_found(store: ScoreStore) -> None:
    for study, volume in {"empty": 0.0, "found": 5.0, "not known": None}.items():
        store.put(study, "m", 0.5, {}, 1.0, foreground=volume)
    candidates = ["empty", "found", "not known", "new"]
    drawn = {ids("foreground_random", candidates, store, seed)[0] for seed in range(30)}
    assert drawn == {"found", "not known"}
    assert "from 2 studies" in choose("foreground_random", candidates, store, "m", 0).reason
    everything = ids("foreground_random", candidates, store, count=4)
    assert set(everything[:2]) == {"found", "not known"}
    assert set(everything[2:]) == {"empty", "new"}, "when nothing else is left"
    only = choose("foreground_random", ["empty"], store, "m", 0)
    assert (only.id, "finds nothing" in only.reason) == ("empty", True)


def test_foreground_random_is_random_where_something_is_found_in_all(store: ScoreStore) -> None:
    candidates = fill(store, {f"s{number}": (number / 9, None) for number in range(9)})
    for seed in range(5):
        drawn = ids("foreground_random", candidates, store, seed, 4)
        assert drawn == ids("random", candidates, store, seed, 4), "so neither is to be simulated where the other was"


def features(store: ScoreStore, groups: dict[str, int], spread: float = 0.1) -> list[str]:
    """Studies in groups far from each other, ``<group>-<number>``."""
    rng, names = np.random.default_rng(0), []
    for group, size in groups.items():
        centre = rng.normal(size=234)
        for member in range(size):
            offset = spread * rng.normal(size=234)
            names.append(f"{group}-{member}")
            store.put_embedding(names[-1], FEATURES, centre + offset)
    return names


def group(study: str) -> str:
    return study.split("-")[0]


def test_cold_start_takes_one_of_each_group_the_largest_first(store: ScoreStore) -> None:
    names = features(store, {"large": 12, "middle": 8, "small": 5})
    for seed in range(5):
        batch = choose_batch("cold_start", names, store, None, seed, 3)
        assert [group(each.id) for each in batch] == ["large", "middle", "small"]
        assert "typical of 12 studies" in batch[0].reason


def test_cold_start_goes_where_nothing_is_labelled(store: ScoreStore) -> None:
    names = features(store, {"large": 12, "middle": 8, "small": 5})
    rest = [name for name in names if name not in ("large-3", "small-2")]
    for seed in range(5):
        chosen = choose("cold_start", rest, store, None, seed, labelled=["large-3", "small-2"])
        assert group(chosen.id) == "middle"


def test_cold_start_by_the_models_embedding_where_there_are_no_features(store: ScoreStore) -> None:
    fill(store, {f"{n}": (0.5, [np.cos(n), np.sin(n)]) for n in range(6)})
    chosen = choose("cold_start", [f"{n}" for n in range(6)], store, "m", 0)
    assert "embedding" in chosen.reason


@pytest.mark.parametrize("strategy", ["hybrid", "uncertainty", "diverse"])
def test_before_a_model_cold_start_takes_their_place(store: ScoreStore, strategy: str) -> None:
    names = features(store, {"large": 12, "small": 5})
    chosen = choose(strategy, names, store, None, 0)
    assert chosen.id == choose("cold_start", names, store, None, 0).id
    assert "there is no model yet; typical of" in chosen.reason
    assert chosen.model is None


@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if name != "random"])
def test_where_nothing_is_known_random_takes_their_place(store: ScoreStore, strategy: str) -> None:
    drawn = {choose(strategy, ["a", "b", "c"], store, "m", seed).id for seed in range(30)}
    assert drawn == {"a", "b", "c"}
    assert "at random" in choose(strategy, ["a"], store, "m", 0).reason
    assert "at random" in choose(strategy, ["a"], None, None, 0).reason


@pytest.mark.parametrize("strategy", list(STRATEGIES))
def test_the_same_seed_and_store_give_the_same_batch_in_whatever_order_they_come(
    store: ScoreStore, strategy: str
) -> None:
    rng = np.random.default_rng(0)
    names = features(store, {"large": 12, "small": 5}, spread=3.0)
    fill(store, {name: (float(rng.random()), rng.normal(size=4).tolist()) for name in names})
    one = choose_batch(strategy, names[2:], store, "m", 5, 6, names[:2])
    other = choose_batch(strategy, names[:1:-1] * 2, ScoreStore(store.path), "m", 5, 6, names[1::-1])
    assert one == other
    assert len({each.id for each in one}) == 6
    assert all(each.model == "m" and each.pool == 15 for each in one)
    ranks = sorted(names[2:], key=lambda name: -store.get("m")[name])
    assert all(each.id == ranks[each.rank - 1] for each in one)


def test_another_seed_draws_other_studies(store: ScoreStore) -> None:
    fill(store, {f"{n}": (0.5, None) for n in range(30)})
    for strategy in ("hybrid", "uncertainty", "foreground_random", "random"):
        drawn = {ids(strategy, [f"{n}" for n in range(30)], store, seed)[0] for seed in range(20)}
        assert len(drawn) > 5, strategy
