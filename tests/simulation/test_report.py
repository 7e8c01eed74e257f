"""Label efficiency against its definition, and what is written of it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from lib.simulation.annotator import Round
from lib.simulation.report import Curve, curves, write_report


def played() -> dict[tuple[str, int], list[Round]]:
    def rounds(*dice: float) -> list[Round]:
        return [Round([f"s{number}" for number in range(4 * place + 4)], value) for place, value in enumerate(dice)]

    return {("hybrid", 0): rounds(0.5, 0.7, 0.8), ("random", 0): rounds(0.4, 0.6), ("hybrid", 1): rounds(0.6, 0.8)}


def test_the_area_is_a_mean_dice_over_the_range_of_labels() -> None:
    labels, dice = [4, 8, 16], np.array([[0.5, 0.7, 0.8], [0.6, 0.6, 0.6]])
    curve = Curve(labels, dice)
    expected = [np.trapz(row, labels) / 12 for row in dice]
    assert curve.areas == pytest.approx(expected)
    assert curve.areas[1] == pytest.approx(0.6)
    assert curve.auc == pytest.approx(np.mean(expected))
    assert curve.auc_sd == pytest.approx(np.std(expected, ddof=1))
    assert Curve([4], np.array([[0.3], [0.5]])).auc == pytest.approx(0.4)
    assert Curve([4, 8], np.array([[0.3, 0.5]])).auc_sd == 0


def test_seeds_are_compared_over_the_rounds_that_all_have() -> None:
    found = curves(played())
    assert found["hybrid"].labels == [4, 8]
    assert found["hybrid"].dice.tolist() == [[0.5, 0.7], [0.6, 0.8]]
    assert found["random"].dice.tolist() == [[0.4, 0.6]]


def test_all_is_written(tmp_path: Path) -> None:
    write_report(played(), tmp_path)
    table = json.loads((tmp_path / "simulation.json").read_text())
    assert table["hybrid"]["auc"] == pytest.approx(0.65)
    with (tmp_path / "simulation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 7
    third = rows[2]
    assert (third["strategy"], third["round"], third["labels"], third["dice"]) == ("hybrid", "3", "12", "0.8000")
    assert third["chosen"].split() == ["s8", "s9", "s10", "s11"]
    assert (tmp_path / "simulation.png").read_bytes().startswith(b"\x89PNG")
