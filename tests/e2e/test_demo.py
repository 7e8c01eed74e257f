"""``make demo`` without the server: what a newcomer sees first must run to its end and say true things."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from lib.inference.model_file import Model
from lib.page.model import comparisons
from lib.page.rounds import Rounds
from lib.selection.store import ScoreStore
from lib.studies.cases import find_cases
from lib.training.model_folder import ModelFolder

DEMO = Path(__file__).parents[2] / "apps" / "semiseg" / "demo.py"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Its folder and what it printed; of so few iterations that the figures mean nothing."""
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, str(DEMO), "--no-serve", "--minutes", "0.25", "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, done.stdout


def test_the_table_shows_both_methods_after_as_many_iterations(demo: tuple[Path, str]) -> None:
    folder, printed = demo
    rows = {line.split()[0]: line.split()[1:] for line in printed.splitlines() if line.startswith(("super", "multi"))}
    assert rows.keys() == {"supervised", "multiscale"}
    assert all(0 <= float(cell) <= 1 for row in rows.values() for cell in row[:3])
    shown = re.search(r"After (\d+) iterations each, on 10 held-out studies", printed)
    assert shown
    for version, branches in (("0001", 1), ("0002", 2)):
        model = Model.load(folder / "model" / "versions" / f"{version}.pt")
        assert len(model.build().networks) == branches
        assert model.metrics["iterations"] == int(shown[1])


def test_the_overlay_it_names_is_there(demo: tuple[Path, str]) -> None:
    folder, printed = demo
    assert f"worst of them: {(folder / 'overlay.png').resolve()}" in printed
    assert (folder / "overlay.png").read_bytes().startswith(b"\x89PNG")


def test_every_unlabelled_study_has_a_score_of_the_served_model(demo: tuple[Path, str]) -> None:
    folder, _ = demo
    served = ModelFolder(folder / "model")
    unlabelled = {case.id for case in find_cases(folder / "studies") if not case.label}
    scores = ScoreStore(served.scores).get(Model.load(served.path / "live.pt").checksum)
    assert len(unlabelled) == 22
    assert scores.keys() == unlabelled


def test_the_page_can_say_what_the_unlabelled_studies_have_brought(demo: tuple[Path, str]) -> None:
    folder, _ = demo
    found = comparisons(Rounds(ModelFolder(folder / "model")).all())
    assert [(each["method"], each["labels"], each["validation"], each["unlabelled"]) for each in found] == [
        ("multiscale", 8, 4, 22)
    ]
    assert Model.load(folder / "model" / "live.pt").config.method == "multiscale", "whatever its Dice"
