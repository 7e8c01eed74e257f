"""``report``: of the latest training or of a named one, with the pictures of the version that it published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lib.command_line import main
from tests.training.conftest import project, thin_networks, tiny_studies  # noqa: F401


def command(project: Any, *more: str) -> list[str]:  # noqa: F811
    return ["report", "--studies", str(project.studies), "--model", str(project.folder.path), "--device", "cpu", *more]


def test_the_latest_or_the_named_training_is_reported(
    project: Any,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    runs = [project.train(iterations=2, seed=seed).manifest.parent for seed in (1, 2)]
    for run in runs:
        for name in ("report.html", "report.json"):
            (run / name).unlink()
    capsys.readouterr()
    assert main(command(project)) == 0
    assert capsys.readouterr().out.strip() == str(max(runs) / "report.html")
    assert not (min(runs) / "report.html").exists()
    assert main(command(project, "--run", min(runs).name, "--json")) == 0
    assert json.loads(capsys.readouterr().out) == {"report": str(min(runs) / "report.html")}
    content = json.loads((min(runs) / "report.json").read_text())
    assert content["run"] == min(runs).name
    assert content["pictures"], "the version that it published is kept"


def test_without_its_version_the_rest_is_reported(project: Any) -> None:  # noqa: F811
    run = project.train(iterations=2).manifest.parent
    (run / "report.json").unlink()
    (project.folder.path / "versions" / "0001.pt").unlink()
    assert main(command(project)) == 0
    content = json.loads((run / "report.json").read_text())
    assert (content["pictures"], len(content["dice_by_case"])) == ([], 2)


def test_what_is_not_there_is_said(project: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    assert main(command(project)) == 2
    assert "There is no training in" in capsys.readouterr().err
    run = project.train(iterations=2).manifest.parent
    assert main(command(project, "--run", run.name[:-2])) == 2
    assert f"did you mean '{run.name}'" in capsys.readouterr().err
    (run / "manifest.json").write_text("{")
    assert main(command(project)) == 2
    assert "is damaged" in capsys.readouterr().err
