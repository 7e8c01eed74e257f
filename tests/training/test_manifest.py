"""The record of a training is whole at every moment and grows."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from lib.training.manifest import Manifest, environment


def test_it_keeps_what_it_had_and_is_read_again(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path / "run")
    manifest.update(status="running", seed=3)
    manifest.update(status="finished", file=tmp_path)
    expected = {"status": "finished", "seed": 3, "file": str(tmp_path)}
    assert json.loads(manifest.file.read_text()) == expected
    assert Manifest(tmp_path / "run").values == expected
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["manifest.json"]


def test_a_failed_write_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = Manifest(tmp_path)
    manifest.update(status="running")

    def power_off(*_: object) -> None:
        raise OSError("power off")

    monkeypatch.setattr(os, "replace", power_off)
    with pytest.raises(OSError, match="power off"):
        manifest.update(status="finished")
    assert Manifest(tmp_path).values == {"status": "running"}


def test_the_environment_names_versions_and_machine() -> None:
    found = environment()
    assert {"python", "platform", "cores", "packages", "started"} <= found.keys()
    assert all(found["packages"][name] for name in ("torch", "monai", "numpy"))
