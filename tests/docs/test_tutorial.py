"""The tutorial does what it says: its commands, in order, as a newcomer would type them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/getting-started/first-model.md"
ITERATIONS = "60"  # the short form that the page names; 400 would take minutes


def blocks() -> list[str]:
    """The commands of the page. What is run once by a person is marked ``console``."""
    return re.findall(r"^```bash\n(.*?)^```$", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)


@pytest.mark.timeout(1800)
def test_from_nothing_to_a_better_model(tmp_path: Path) -> None:
    (tmp_path / "apps").symlink_to(ROOT / "apps")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "ITERATIONS": ITERATIONS, "OMP_NUM_THREADS": "1"}
    assert f"export ITERATIONS={ITERATIONS}" in PAGE.read_text()
    printed = []
    for block in blocks():
        done = subprocess.run(
            ["bash", "-eu", "-o", "pipefail", "-c", block],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{block}\n{done.stderr[-3000:]}"
        printed.append(done.stdout)
    folder = tmp_path / "tutorial"
    first, second = (json.loads((folder / f"{name}.json").read_text()) for name in ("first", "second"))
    assert (first["version"], second["version"]) == ("0001", "0002")
    assert second["mean"]["dice"]["mean"] > first["mean"]["dice"]["mean"], "the Dice rises"
    assert second["trained_on"] == first["trained_on"] == [], "it is judged on what nothing learnt from"
    offered = [each["id"] for each in json.loads((folder / "next.json").read_text())]
    labelled = {file.name.removesuffix(".nii.gz") for file in (folder / "studies/labels/final").iterdir()}
    assert labelled == {"phantom_000", "phantom_001", *offered}
    assert len(labelled) == 6
    assert (folder / "predictions/phantom_005_uncertainty.nii.gz").exists()
    assert "0002  live" in printed[-1]
    assert list((folder / "model/runs").glob("*/report.html"))
