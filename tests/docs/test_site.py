"""How the pages are built (``docs/conf.py``): strictly, and so that they work without a network."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GOOD = "# One\n\n[two](two.md#a-heading), [this](#one), ![picture](dot.svg)\n\n```{toctree}\ntwo\n```\n"
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>'


def build(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    """Two pages by the settings of ours; ``make docs`` builds all."""
    (folder / "pages").mkdir()
    (folder / "pages" / "index.md").write_text(text)
    (folder / "pages" / "two.md").write_text("# Two\n\n## A heading\n\nA word: haystack.\n")
    (folder / "pages" / "dot.svg").write_text(SVG)
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--quiet", "-c", str(ROOT / "docs")]
    return subprocess.run([*command, str(folder / "pages"), str(folder / "site")], capture_output=True, text=True)


def test_pages_ask_no_other_server_and_are_searched_in_the_browser(tmp_path: Path) -> None:
    done = build(tmp_path, GOOD)
    assert done.returncode == 0, done.stderr
    site = tmp_path / "site"
    for page in site.glob("*.html"):
        loaded = re.findall(r"<(?:script|img|link|iframe)\b[^>]*?(?:src|href)=\"([^\"]*)", page.read_text())
        assert loaded
        assert [url for url in loaded if re.match(r"\w+:|//", url)] == []
    for style in site.rglob("*.css"):
        assert re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", style.read_text()) == []
    assert "haystack" in (site / "searchindex.js").read_text()


@pytest.mark.parametrize("wrong", ["two.md#no-heading", "three.md", "#nowhere", "dit.svg"])
def test_a_broken_link_is_an_error(tmp_path: Path, wrong: str) -> None:
    done = build(tmp_path, GOOD + f"\n[broken]({wrong})\n")
    assert done.returncode != 0
    assert wrong.lstrip("#").split("#")[-1] in done.stderr


def test_the_navigation_leads_to_every_page() -> None:
    index = (ROOT / "docs/index.md").read_text()
    named = set(re.findall(r"^([\w-]+/[\w-]+)$", index, flags=re.MULTILINE)) | {"index"}
    pages = {str(page.relative_to(ROOT / "docs").with_suffix("")) for page in (ROOT / "docs").rglob("*.md")}
    assert {page for page in pages if not page.startswith("how-to/")} == named
    assert "how-to/*" in index


def test_the_checks_of_a_change_build_them() -> None:
    assert "make docs" in (ROOT / ".ci/run").read_text()
    assert re.search(
        r"^docs:.*\n\t.*sphinx --fail-on-warning.* docs site$", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
