"""The command that compares strategies on studies with labels."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lib.command_line import main
from lib.command_line.simulate import sides
from lib.studies.cases import find_cases
from lib.studies.phantoms import write_studies


def test_two_strategies_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_studies(tmp_path / "studies", 6, 6, shape=(24, 24, 16))
    line = ["simulate", "--studies", str(tmp_path / "studies"), "--output", str(tmp_path / "out"), "--seeds", "1"]
    line += ["--strategy", "cold_start,random", "--rounds", "2", "--per-round", "1", "--judged", "2"]
    line += ["--method", "supervised", "--iterations", "2", "--size", "small", "--validation", "0", "--workers", "0"]
    assert main([*line, "--patch", "16,16,16"]) == 0
    printed = capsys.readouterr().out
    assert "4 studies to label, 2 judged, 1 seeds" in printed
    table = json.loads((tmp_path / "out" / "simulation.json").read_text())
    assert table.keys() == {"cold_start", "random"}
    assert all(curve["labels"] == [1, 2] for curve in table.values())
    assert main([*line, "--patch", "16,16,16", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {name: each["auc"] for name, each in told["strategies"].items()} == pytest.approx(
        {name: curve["auc"] for name, curve in table.items()}
    )
    assert all(Path(file).exists() for file in told["files"])


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--strategy", "hybrid,best"], "Strategy 'best' does not exist; choose from: hybrid"),
        (["--judged", "9"], "too few to judge on 9"),
        (["--modalities", "ct,mr"], "name one modality's studies alone"),
    ],
)
def test_what_cannot_be_simulated_is_one_sentence(
    more: list[str], says: str, phantom_studies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", "--studies", str(phantom_studies), "--output", str(tmp_path), *more]) == 2
    assert says in capsys.readouterr().err


def test_the_judged_studies_do_not_depend_on_the_order(phantom_studies: Path) -> None:
    cases = find_cases(phantom_studies)
    pool, judged = sides(cases, None)
    assert (len(pool), len(judged)) == (4, 2)
    assert sides(cases[::-1], None) == (pool, judged)
