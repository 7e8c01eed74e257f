"""``docs/explanation/methods.md`` knows every method, its settings exist, its figures are drawn from their tables."""

from __future__ import annotations

import importlib
import re
from dataclasses import fields
from pathlib import Path

import pytest

from lib.config import METHODS, Config

ROOT = Path(__file__).parents[1]
FIGURES = ROOT / "docs/images/methods"
PAGE = (ROOT / "docs/explanation/methods.md").read_text()


@pytest.mark.parametrize("method", METHODS)
def test_each_method_has_its_section_with_one_figure_and_a_formula(method: str) -> None:
    section = re.split(r"^## ", PAGE.split(f"\n## {method}\n")[1], flags=re.MULTILINE)[0]
    assert section.count(f"](../images/methods/{method}.svg)") == 1
    assert section.count("![") == 1
    assert "loss" in section.split("```")[1]


def test_the_settings_that_sections_name_exist() -> None:
    known = {field.name for field in fields(Config)}
    for line in re.findall(r"\*\*Settings\.\*\* (.*)", PAGE):
        assert set(re.findall(r"`([a-z_]+)`", line)) - {"ct,mr"} <= known


def test_the_figures_are_what_their_tables_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FIGURES))
    drawing = importlib.import_module("draw")
    assert {file.stem for file in FIGURES.glob("*.svg")} == set(drawing.FIGURES)
    for name in drawing.FIGURES:
        assert (FIGURES / f"{name}.svg").read_text() == drawing.draw(name), f"run draw.py for {name}.svg"
