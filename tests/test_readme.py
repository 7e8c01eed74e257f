"""The README and the pages say what is so: the table of settings, and links that lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "CHANGELOG.md", *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md"))]


def test_the_readme_is_short_and_begins_with_two_commands() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) < 150
    first = lines.index("```bash")
    assert [line.split("#")[0].strip() for line in lines[first + 1 : first + 3]] == ["make demo", "make test"]


def test_table_of_settings_is_the_one_the_code_prints() -> None:
    page = (ROOT / "docs/reference/settings.md").read_text()
    written = re.search(r"<!-- settings -->\n(.*?)<!-- /settings -->", page, re.DOTALL)
    assert written, "there is no table between <!-- settings --> and <!-- /settings -->"
    printed = subprocess.run([sys.executable, "-m", "lib.config"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert written[1].strip() == printed.stdout.strip(), "replace it by the output of: python -m lib.config"


def links(page: str) -> list[str]:
    """Where the links and pictures of a page lead; what looks like one in code is none."""
    text = re.sub(r"^```.*?^```$|`[^`\n]*`", "", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"\]\(([^)\s]+)[^)]*\)", text)


def anchors(page: Path) -> set[str]:
    """Of the headings, as GitHub and MyST make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_to_files_lead_somewhere(page: str) -> None:
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (ROOT / page).parent / name if name else ROOT / page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES)
def test_links_to_other_servers_can_be_addresses(page: str) -> None:
    """Nothing is asked: these checks run without a network."""
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            parts = urlsplit(link)
            assert parts.scheme in ("https", "http"), link
            assert re.fullmatch(r"([a-z0-9-]+\.)+[a-z]{2,}", parts.netloc), link
