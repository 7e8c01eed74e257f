"""The oracle of the simulations labels what the model segments worst, by labels that it alone sees."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.oracle import Oracle
from lib.config import Config
from lib.inference.evaluation import evaluate
from lib.inference.segmenter import Segmenter
from lib.simulation.annotator import Player
from lib.studies.cases import find_cases
from lib.studies.labels import label_map
from lib.studies.phantoms import write_studies
from lib.training.model_folder import ModelFolder

CONFIG = Config(
    method="supervised", size="small", patch=(16, 16, 16), iterations=3, validation=0, device="cpu", precision="fp32",
    workers=0, pretrained=False,
)  # fmt: skip


@pytest.fixture
def oracle(tmp_path: Path) -> Oracle:
    """Over eight phantoms, of which two judge."""
    write_studies(tmp_path / "studies", 8, 8, shape=(24, 24, 16))
    cases = find_cases(tmp_path / "studies")
    return Oracle(cases[2:], cases[:2], label_map(CONFIG, tmp_path / "studies", cases), CONFIG)


def test_it_begins_as_its_strategy_does_and_then_takes_the_worst(oracle: Oracle, tmp_path: Path) -> None:
    (first,) = oracle.play("cold_start", 0, 1, 2, tmp_path / "oracle")
    model = ModelFolder(tmp_path / "oracle").live
    assert model is not None
    left = [case for case in oracle.pool if case.id not in first.labelled]
    found, _ = evaluate(Segmenter.load(model, "cpu"), left, oracle.labels)
    dice = {each.id: sum(each.dice.values()) / len(each.dice) for each in found}
    _, second = oracle.play("cold_start", 0, 2, 2, tmp_path / "oracle")
    assert second.labelled[2:] == sorted(dice, key=dice.__getitem__)[:2]
    plain = Player(oracle.pool, oracle.judged, oracle.labels, CONFIG)
    assert plain.play("cold_start", 0, 1, 2, tmp_path / "plain") == [first]
