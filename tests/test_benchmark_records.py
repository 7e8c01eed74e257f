"""What a benchmark measured stays in the repository: a run counts once, and what is kept gives the same table."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import accuracy, active_learning, records
from benchmarks.accuracy_run import Job
from benchmarks.accuracy_table import Table
from benchmarks.active_learning import GAMES
from benchmarks.active_learning_table import NAME, Games, over_chance
from benchmarks.protocols import JUDGED
from lib.simulation.annotator import Round
from lib.studies.cases import Case
from lib.studies.labels import LabelMap


def result(method: str, seed: int, dice: float, labelled: int = 8) -> dict[str, Any]:
    """As a run of ``benchmarks/accuracy.py`` leaves it."""
    job = {"set": "la", "labelled": labelled, "judged": "evaluation", "method": method, "series": "", "conf": {}}
    scores = {"dice": dice, "dice_one_network": dice, "hd95": 5.0, "missed": 0, "cases": [{"id": "a"}]}
    around = {"python": "3.11", "cores": 2, "packages": {"torch": "2.13.0"}, "platform": "Linux of someone"}
    return {
        "job": job | {"iterations": 3000, "seed": seed},
        "judged": {"": scores},
        "manifest": "/home/someone/manifest.json",
        "environment": around,
        "device": "CPU",
        "day": "2026-01-01",
    } | {"seconds": 9.0, "processor_seconds": 8.0, "peak_memory_mb": 7.0, "memory_mb": {"training": 7.0}}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where records are kept meanwhile."""
    monkeypatch.setattr(records, "FOLDER", tmp_path / "records")
    return records.FOLDER


def keep(*results: dict[str, Any]) -> int:
    return records.keep("accuracy", map(accuracy.record, results), lambda each: accuracy.job_key(each["job"]))


def test_a_run_counts_once_and_the_last_one_counts(folder: Path) -> None:
    assert keep() == 0
    assert not folder.exists()
    assert keep(result("multiscale", 0, 0.9), result("multiscale", 1, 0.8)) == 2
    assert keep(result("multiscale", 1, 0.7)) == 2
    found = {each["job"]["seed"]: each["judged"][""]["dice"] for each in records.read("accuracy")}
    assert found == {0: 0.9, 1: 0.7}
    assert records.read("another") == []


@pytest.mark.parametrize(("method", "same"), [("ceiling", True), ("supervised", False)])
def test_the_ceiling_is_the_same_run_whatever_the_others_have_labelled(method: str, same: bool) -> None:
    few, many = (accuracy.job_key(result(method, 0, 0.9, labelled)["job"]) for labelled in (8, 16))
    assert (few == many) is same


def test_what_is_kept_names_no_machine_and_gives_the_same_table(folder: Path) -> None:
    runs = [result("supervised", 0, 0.8), result("supervised", 1, 0.82), result("multiscale", 0, 0.9)]
    keep(*runs)
    text = (folder / "accuracy.jsonl").read_text()
    assert "someone" not in text
    assert all(json.loads(line)["environment"]["packages"] for line in text.splitlines())
    kept = records.read("accuracy")
    assert Table(kept, "la", 8, 3).figures() == pytest.approx(Table(runs, "la", 8, 3).figures())


def test_gains_are_those_of_the_seeds_that_both_have() -> None:
    runs = [result("supervised", 0, 0.8), result("supervised", 1, 0.82), result("supervised", 2, 0.2)]
    runs += [result("ceiling", 0, 0.9), result("ceiling", 2, 0.4)]
    runs += [result("multiscale", 0, 0.84), result("multiscale", 1, 0.84)]
    found = Table(runs, "la", 8, 3).figures()
    assert found["la/8/multiscale/gain"] == pytest.approx(0.03)  # (0.04 + 0.02) / 2
    assert found["la/8/multiscale/gap_closed"] == pytest.approx(0.4)  # seed 0 alone: 0.04 / 0.1
    assert found["la/8/ceiling/gain"] == pytest.approx(0.15)  # (0.1 + 0.2) / 2
    assert "la/8/supervised/gain" not in found
    assert "la/8/ceiling/gap_closed" not in found


def test_unlabelled_studies_are_judged_with_the_model_of_the_evaluation_and_development_with_its_own() -> None:
    jobs = {judged: Job(**result("multiscale", 0, 0.9)["job"] | {"judged": judged}) for judged in JUDGED}
    models = {judged: job.model_folder(Path("results")).path for judged, job in jobs.items()}
    assert models["unlabelled"] == models["evaluation"] != models["development"]
    assert len({job.folder(Path("results")) for job in jobs.values()}) == 3


def test_simulations_are_kept_with_their_rounds_and_those_by_other_rules_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    studies = [f"study {number}" for number in range(8)]
    played = tmp_path / "evaluation" / "la" / "supervised,random-2"
    played.mkdir(parents=True)
    rounds = [{"labelled": studies[:4], "dice": 0.7, "cases": {}}, {"labelled": studies, "dice": 0.8, "cases": {}}]
    (played / "rounds.json").write_text(json.dumps({"question": "", "rounds": rounds}))
    games = Games(tmp_path, "evaluation", {"la": GAMES["la"].rules()})
    games.record()
    games.record()
    assert len(records.read(NAME)) == 1
    assert games.recorded("la") == {("supervised,random", 2): [Round(studies[:4], 0.7), Round(studies, 0.8)]}
    for changed in ({"iterations": 1000}, {"settings": {"consistency": 1.0}}):
        other = dataclasses.replace(GAMES["la"], **changed)
        assert Games(tmp_path, "evaluation", {"la": other.rules()}).recorded("la") == {}
    assert Games(tmp_path, "development", {"la": GAMES["la"].rules()}).recorded("la") == {}
    monkeypatch.setattr(active_learning, "POOL", 1.0)
    assert Games(tmp_path, "evaluation", {"la": GAMES["la"].rules()}).recorded("la") == {}


def test_a_strategy_is_compared_with_chance_seed_by_seed() -> None:
    studies = [f"study {number}" for number in range(8)]
    dice = {("random", 0): (0.5, 0.7), ("random", 1): (0.6, 0.9), ("hybrid", 0): (0.6, 0.7), ("hybrid", 1): (0.7, 0.95)}
    dice |= {("diverse", 1): (0.5, 0.9), ("uncertainty", 2): (0.9, 0.9)}  # random was not played with seed 2
    played = {key: [Round(studies[:4], first), Round(studies, last)] for key, (first, last) in dice.items()}
    found = over_chance(played)
    # areas: random 0.6 and 0.75, hybrid 0.65 and 0.825, so 0.05 and 0.075 above; sd 0.025 / sqrt 2, error 0.0125
    assert found.keys() == {"hybrid", "diverse"}
    assert found["hybrid"] == pytest.approx((0.0625, 0.0125))
    assert found["diverse"] == pytest.approx((-0.05, math.nan), nan_ok=True)


def test_the_figures_of_records_need_no_machine_that_played(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    studies = [f"study {number}" for number in range(24)]
    for arm, last in (("hybrid", 0.8), ("random", 0.75), ("supervised,random", 0.75)):
        folder = tmp_path / "here" / "evaluation" / "la" / f"{arm}-0"
        folder.mkdir(parents=True)
        dice = [0.5, 0.6, last, last, last, last]
        rounds = [{"labelled": studies[: 4 * n], "dice": value, "cases": {}} for n, value in enumerate(dice, 1)]
        (folder / "rounds.json").write_text(json.dumps({"question": "", "rounds": rounds}))
    rules = {"la": GAMES["la"].rules()}
    here, elsewhere = (Games(tmp_path / place, "evaluation", rules) for place in ("here", "elsewhere"))
    here.record()
    found = elsewhere.report("la", 1, recorded=True)
    assert found == here.report("la", 1, recorded=False)
    # trapezoids of width 4 over 20 labels: (0.55 + 0.7 + 3 * 0.8) / 5 and (0.55 + 0.675 + 3 * 0.75) / 5
    assert found["la/hybrid/auc"] == pytest.approx(0.73)
    assert found["la/hybrid/over_random"] == pytest.approx(0.73 - 0.695)
    assert found["la/labels_to_match"] == pytest.approx(8 + 4 * 0.75)  # from 0.6 with 8 to 0.8 with 12: 0.75
    printed = capsys.readouterr().out
    assert "| +0.0350 |" in printed
    assert "nan" not in printed, "of one seed there is no standard error"
    assert elsewhere.report("la", 1, recorded=False) == {}


@pytest.mark.parametrize("judged", ["evaluation", "development"])
def test_each_seed_of_a_game_has_its_own_pool_and_nobody_sees_the_judged(
    judged: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Published order: 51 to choose from, 14 for choices of ours, 15 that judge."""
    studies = [Case(f"study {number:02d}", Path(f"{number}.nii.gz")) for number in range(80)]
    labels = LabelMap({1: "organ"})
    data = SimpleNamespace(patients=[[each] for each in studies], labels=labels)
    monkeypatch.setattr(active_learning, "load_set", lambda *_: data)
    players = [
        active_learning.player_of("la", judged, Path(), method, seed)
        for method, seed in (("best", 0), ("supervised", 0), ("best", 1))
    ]
    others, judging = (studies[:65], studies[65:]) if judged == "evaluation" else (studies[:51], studies[51:65])
    pools = [[case.id for case in player.pool] for player in players]
    assert pools[0] == pools[1] != pools[2]
    for player, pool in zip(players, pools, strict=True):
        assert player.judged == judging
        assert len(set(pool)) == len(pool) == round(len(others) * 2 / 3)
        assert set(pool) <= {case.id for case in others}
