"""Asking for the next study is a look-up in the scores of the live model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lib.errors import ConfigError
from lib.selection.store import ScoreStore
from lib.server.datastore import FolderDatastore
from lib.server.live import LiveModel
from lib.server.strategies import LookUp
from lib.training.model_folder import ModelFolder

UNLABELLED = {"phantom_003", "phantom_004", "phantom_005"}


@pytest.fixture
def scores(folder: ModelFolder) -> ScoreStore:
    folder.path.mkdir(exist_ok=True)
    return ScoreStore(folder.scores)


@pytest.fixture
def ask(live: LiveModel, scores: ScoreStore, datastore: FolderDatastore) -> Callable[..., Any]:
    def asked(strategy: str = "uncertainty", **request: Any) -> Any:
        return LookUp(strategy, live, scores)(request, datastore)

    return asked


def test_the_highest_score_of_the_live_model_is_next(
    ask: Callable[..., Any], live: LiveModel, scores: ScoreStore, publish: Callable[..., str]
) -> None:
    publish()
    model = live.loaded()
    assert model is not None
    for study, score in (("phantom_000", 0.9), ("phantom_003", 0.2), ("phantom_004", 0.5), ("phantom_005", 0.3)):
        scores.put(study, model.checksum, score, {}, 0.1)
        scores.put(study, "another model", 1 - score, {}, 0.1)
    answer = ask()
    assert (answer["id"], answer["score"], answer["rank"], answer["pool"]) == ("phantom_004", 0.5, 1, 3)
    assert answer["version"] == "0001"
    assert "0.5" in answer["reason"]


def test_before_the_first_model_any_unlabelled_study_is_next_and_it_says_so(ask: Callable[..., Any]) -> None:
    answers = [ask(strategy) for strategy in ("uncertainty", "random")]
    assert {answer["id"] for answer in answers} <= UNLABELLED
    assert all(answer["score"] is answer["version"] is None for answer in answers)
    assert all("random" in answer["reason"] for answer in answers)


def test_a_seed_makes_the_choice_repeatable_and_without_one_it_varies(ask: Callable[..., Any]) -> None:
    assert len({ask("random", seed=7)["id"] for _ in range(10)}) == 1
    assert {ask("random")["id"] for _ in range(60)} == UNLABELLED
    with pytest.raises(ConfigError, match="seed"):
        ask("random", seed="x")


def test_nothing_is_next_when_all_are_labelled(ask: Callable[..., Any], datastore: FolderDatastore) -> None:
    for study in UNLABELLED:
        datastore.remove_image(study)
    assert ask() is None


def test_what_clients_show(live: LiveModel, scores: ScoreStore) -> None:
    info = LookUp("uncertainty", live, scores).info()
    assert info["config"] == {}
    assert info["description"]


def test_a_study_that_came_since_the_scoring_is_noticed(
    live: LiveModel, scores: ScoreStore, datastore: FolderDatastore, publish: Callable[..., str]
) -> None:
    noticed: list[str] = []
    task = LookUp("hybrid", live, scores, arrived=lambda: noticed.append("some"))
    task({}, datastore)
    assert noticed == [], "without a model there is nothing to score with"
    publish()
    model = live.loaded()
    assert model is not None
    for study in sorted(datastore.list_images())[:5]:
        scores.put(study, model.checksum, 0.5, {}, 0.1)
    task({}, datastore)
    assert noticed == ["some"]
    scores.put_failure("phantom_005", model.checksum, "broken", 0.1)
    task({}, datastore)
    assert noticed == ["some"], "what cannot be scored was tried"
