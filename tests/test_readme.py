"""The README and the pages say what is so: the table of settings, and links that lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "CHANGELOG.md", *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md"))]


def test_table_of_settings_is_the_one_the_code_prints() -> None:
    written = re.search(r"<!-- settings -->\n(.*?)<!-- /settings -->", (ROOT / "README.md").read_text(), re.DOTALL)
    assert written, "README.md has no table between <!-- settings --> and <!-- /settings -->"
    printed = subprocess.run([sys.executable, "-m", "lib.config"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert written[1].strip() == printed.stdout.strip(), "replace it by the output of: python -m lib.config"


@pytest.mark.parametrize("page", PAGES)
def test_links_to_files_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", (ROOT / page).read_text())
    files = [link for link in links if not re.match(r"[a-z]+:", link)]
    assert [link for link in files if not ((ROOT / page).parent / link).exists()] == []
