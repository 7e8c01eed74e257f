"""The played annotator: what is chosen by what is known, what stays hidden, and going on after an interruption."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lib.config import Config
from lib.errors import ConfigError
from lib.selection.store import ScoreStore
from lib.simulation import annotator
from lib.simulation.annotator import Player, Round
from lib.studies.cases import Case, find_cases
from lib.studies.labels import label_map
from lib.studies.phantoms import write_studies

CONFIG = Config(
    method="supervised", size="small", patch=(16, 16, 16), iterations=2, validation=0, device="cpu", precision="fp32",
    workers=0, pretrained=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    folder = tmp_path_factory.mktemp("simulation") / "studies"
    write_studies(folder, 7, 7, shape=(24, 24, 16))
    return find_cases(folder)


@pytest.fixture
def player(cases: list[Case]) -> Player:
    labels = label_map(CONFIG, cases[0].image.parent, cases)
    return Player(cases[2:], cases[:2], labels, CONFIG)


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[list[Case]]:
    """What each training was given."""
    seen: list[list[Case]] = []
    real = annotator.train

    def train(cases: Sequence[Case], *rest: Any) -> Any:
        seen.append(list(cases))
        return real(cases, *rest)

    monkeypatch.setattr(annotator, "train", train)
    return seen


def test_each_round_shows_so_many_labels_more_and_no_others(
    player: Player, trainings: list[list[Case]], tmp_path: Path
) -> None:
    told: list[Round] = []
    rounds = player.play("uncertainty", 0, 2, 2, tmp_path / "run", told=told.append)
    assert rounds == told
    assert [len(each.labelled) for each in rounds] == [2, 4]
    assert rounds[1].labelled[:2] == rounds[0].labelled
    pool = {case.id for case in player.pool}
    for each, given in zip(rounds, trainings, strict=True):
        assert {case.id for case in given} == pool, "the others are unlabelled studies of the training"
        assert {case.id for case in given if case.label} == set(each.labelled)
    judged = {case.id for case in player.judged}
    assert all(each.cases.keys() == judged for each in rounds)
    assert all(each.dice == pytest.approx(sum(each.cases.values()) / 2) for each in rounds)


def test_the_second_round_goes_by_the_scores_of_the_first_model(player: Player, tmp_path: Path) -> None:
    first, second = player.play("uncertainty", 0, 2, 2, tmp_path / "run")
    store = ScoreStore(tmp_path / "run" / "scores.sqlite")
    models = {row[0] for row in store.database.run(lambda c: c.execute("SELECT DISTINCT model FROM scores").fetchall())}
    (scores,) = (found for model in models if (found := store.get(model)) and set(second.labelled) <= found.keys())
    left = sorted(set(scores) - set(first.labelled), key=lambda study: -scores[study])
    assert second.labelled[2:] == left[:2]


def test_an_interrupted_simulation_goes_on_to_the_same_end(
    player: Player, trainings: list[list[Case]], tmp_path: Path
) -> None:
    whole = player.play("random", 3, 2, 2, tmp_path / "whole")
    player.play("random", 3, 1, 2, tmp_path / "halves")
    trainings.clear()
    assert player.play("random", 3, 2, 2, tmp_path / "halves") == whole
    assert len(trainings) == 1, "the first round was not played again"


def test_seeds_choose_differently(player: Player, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Player, "_learn", lambda self, project, config, labelled, progress: Round(labelled, 0.5))
    chosen = {tuple(player.play("random", seed, 1, 3, tmp_path / str(seed))[0].labelled) for seed in range(6)}
    assert len(chosen) > 1


def test_what_cannot_be_played_is_told(player: Player, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="3 rounds of 2 need 6 studies with labels, and there are 5"):
        player.play("random", 0, 3, 2, tmp_path / "many")
    monkeypatch.setattr(Player, "_learn", lambda self, project, config, labelled, progress: Round(labelled, 0.5))
    player.play("random", 0, 1, 2, tmp_path / "run")
    other = dataclasses.replace(player, config=CONFIG.replace(iterations=3))
    with pytest.raises(ConfigError, match="other settings or studies"):
        other.play("random", 0, 1, 2, tmp_path / "run")
    elsewhere = dataclasses.replace(player, config=CONFIG.replace(threads=1))
    assert elsewhere.play("random", 0, 1, 2, tmp_path / "run")
