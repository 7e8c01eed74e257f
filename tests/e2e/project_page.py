"""The project page in a browser, and all that goes wrong in it.

``SEMISEG_PICTURES=docs/images/page`` keeps the screenshots, for ``docs/how-to/project-page.md``.
"""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Locator, Page, expect

PICTURES = os.environ.get("SEMISEG_PICTURES")
SECONDS = 60_000  # ms until a step has failed


class Visit:
    """The page in a browser, and what went wrong in it.

    Args:
        foreign: requests to other servers. refused: requests that failed. bugs: of the page's programs.
    """

    def __init__(self, page: Page, server: Any) -> None:
        self.page, self.server = page, server
        self.foreign: list[str] = []
        self.refused: list[str] = []
        self.bugs: list[str] = []
        page.set_default_timeout(SECONDS)
        expect.set_options(timeout=SECONDS)
        page.on("request", lambda request: request.url.startswith(server.url) or self.foreign.append(request.url))
        page.on("response", lambda answer: answer.status < 400 or self.refused.append(f"{answer.status} {answer.url}"))
        page.on("pageerror", lambda error: self.bugs.append(str(error)))
        page.on("console", lambda said: said.type in ("error", "warning") and self.bugs.append(said.text))

    def open(self) -> None:
        self.page.goto(f"{self.server.url}/semiseg/")
        self.page.locator("html[data-loaded=true]").wait_for()

    def data(self, block: str, **query: Any) -> Any:
        return self.server.get(f"/semiseg/data/{block}", **query)

    def part(self, name: str) -> Locator:
        return self.page.get_by_role("region", name=name, exact=True)

    def rows(self, table: str) -> list[list[str]]:
        found = self.page.get_by_role("region", name=table).locator("tbody tr")
        return [[cell.strip() for cell in row.locator("th, td").all_inner_texts()] for row in found.all()]

    def told(self, text: str | re.Pattern[str]) -> None:
        """The live region says so."""
        expect(self.page.locator("#told")).to_have_text(text)

    def picture(self, name: str, whole: bool = False) -> None:
        if PICTURES:
            self.page.wait_for_timeout(500)
            Path(PICTURES).mkdir(parents=True, exist_ok=True)
            shot = Image.open(io.BytesIO(self.page.screenshot(full_page=whole))).convert("RGB")
            shot.quantize(128, dither=Image.Dither.NONE).save(Path(PICTURES) / f"{name}.png", optimize=True)
