"""OHIF in headless Chromium, used as a reader uses it: with clicks on what is seen."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Dialog, Locator, Page, Request, Response, sync_playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]  # WebGL2, no GPU
SECONDS = 90_000  # ms until a step has failed; on two busy cores a study takes 10 s to open
LOADED = """() => {
    const volumes = [...cornerstone.cache._volumeCache.values()];
    return volumes.length > 0 && volumes.every(each => each.volume?.loadStatus?.loaded);
}"""


class Ohif:
    """The viewer of one server in one page.

    Args:
        page: of Chromium.
        url: of the server.
        pictures: folder for the screenshots of the steps; None: none are kept.
    """

    def __init__(self, page: Page, url: str, pictures: Path | None = None) -> None:
        self.page, self.url, self.pictures = page, url, pictures
        self.bugs: list[str] = []  # of the page's programs
        self.refused: list[str] = []  # requests of the page
        page.set_default_timeout(SECONDS)
        page.route(lambda address: not address.startswith(url), lambda route: route.abort())  # fonts from elsewhere
        page.on("pageerror", lambda error: self.bugs.append(str(error)))
        page.on("response", self._note)
        page.on("dialog", lambda dialog: self._agree(dialog))

    def study_list(self) -> list[str]:
        """Open the study list; returns the patients in it."""
        self.page.goto(f"{self.url}/ohif/")
        rows = self.page.locator("[data-cy='studyRow'], tr[data-cy]")
        self.page.get_by_text("Studies", exact=True).wait_for()
        self.page.get_by_role("button", name="Confirm and Hide").click()
        self.picture("study-list")
        names = rows.locator("td:nth-child(2)").all_inner_texts()
        return [name.strip() for name in names]

    def open_study(self, patient: str) -> None:
        """Open the patient's study in the MONAI Label mode, from the study list."""
        self.page.get_by_text(patient).first.click()
        self.page.get_by_role("button", name="MONAI Label").click()
        self.wait_until_loaded()

    def wait_until_loaded(self) -> None:
        """Until the panel is there and all slices have come."""
        self.page.get_by_text("Server:", exact=True).wait_for()
        self.page.wait_for_function(LOADED)
        self.page.wait_for_timeout(1500)  # the viewports are drawn after that

    def connect(self) -> None:
        """Press the panel's button beside the server's address, which reads ``/info/``."""
        self.page.locator("[data-cy='monailabel-btn']").click()
        with self._asking("/info/"):
            self.page.locator(".settingsTable button").click()
        self.page.get_by_text("Auto-Segmentation").wait_for()

    def models(self) -> list[str]:
        """The models that the panel offers."""
        return [text.strip() for text in self._model_selector().locator("option").all_inner_texts()]

    def strategies(self) -> list[str]:
        """The strategies that the panel offers."""
        return [text.strip() for text in self._active_learning().locator("option").all_inner_texts()]

    def run(self) -> None:
        """Press Run and wait for the segmentation to be shown."""
        self._model_selector().get_by_role("button", name="Run").click()
        self.page.get_by_text("Running Segmentation - Successful").wait_for()
        self.page.wait_for_timeout(2000)  # the viewports are drawn after that

    def viewport(self, place: int) -> NDArray[np.int16]:
        """What viewport 0 (axial), 1 (sagittal) or 2 (coronal) shows: (height, width, RGB)."""
        content = self.page.locator("[data-cy='viewport-pane']").nth(place).screenshot()
        return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(np.int16)

    def export(self, name: str) -> None:
        """Store the segmentation on the DICOM server, by the menu of the Segmentation panel."""
        self.page.locator("[data-cy='panelSegmentationWithTools-btn']").click()
        self.page.locator("[data-cy='Brush']").click()
        self.picture("correct")
        self.page.get_by_role("combobox").locator("xpath=preceding-sibling::button").click()
        self.page.get_by_role("menuitem", name="Export & Download").click()
        self.page.get_by_role("menuitem", name="Export DICOM SEG").wait_for()
        self.picture("export")
        self.page.get_by_role("menuitem", name="Export DICOM SEG").click()
        self.page.get_by_role("textbox").last.fill(name)
        with self._asking("/proxy/dicom/wado/studies"):
            self.page.get_by_text("Save", exact=True).last.click()
        self.page.get_by_text("The label is on the DICOM server").wait_for()

    def next_sample(self) -> dict[str, Any]:
        """Press Next Sample and agree to go there; returns what the server had answered."""
        with self._asking("/activelearning/") as answers:
            self._active_learning().get_by_role("button", name="Next Sample").click()
        answer = answers[0].json()
        self.page.locator(".nextSampleForm").get_by_text(answer["StudyInstanceUID"]).first.wait_for()
        self.picture("next-sample")
        with self.page.expect_navigation():
            self.page.locator(".nextSampleForm").get_by_role("button", name="OK").click()
        self.wait_until_loaded()
        return answer

    def update_model(self) -> dict[str, Any]:
        """Press Update Model; returns what the server had answered."""
        with self._asking("/train/") as answers:
            self._active_learning().get_by_role("button", name="Update Model").click()
        self._active_learning().get_by_role("button", name="Stop Training").wait_for()
        return answers[0].json()

    def bars(self) -> dict[str, str]:
        """The tips of the bars: Annotated, Training, Train Acc."""
        found = {}
        for row in self._active_learning().locator("tr", has=self.page.locator("td[title]")).all():
            found[row.locator("td").first.inner_text().rstrip(":")] = row.locator("td[title]").get_attribute("title")
        return {name: tip or "" for name, tip in found.items()}

    def picture(self, name: str) -> None:
        """Keep a screenshot for the pages of the documentation."""
        if self.pictures:
            self.page.wait_for_timeout(700)  # panels unfold slowly
            self.pictures.mkdir(parents=True, exist_ok=True)
            content = self.page.screenshot()
            few = Image.open(io.BytesIO(content)).convert("RGB").quantize(128, dither=Image.Dither.NONE)
            few.save(self.pictures / f"{name}.png", optimize=True)

    def _model_selector(self) -> Locator:
        """That of Auto-Segmentation; another one belongs to Class Prompts."""
        return self.page.locator(".tab", has=self.page.get_by_text("Auto-Segmentation")).locator(".modelSelector")

    def _active_learning(self) -> Locator:
        tab = self.page.locator(".tab", has=self.page.get_by_text("Active Learning"))
        if not tab.locator(".tab-switch").is_checked():
            tab.locator(".tab-label").click()
            self.page.wait_for_timeout(700)  # it unfolds slowly
        return tab

    @contextmanager
    def _asking(self, path: str) -> Iterator[list[Response]]:
        """What is done in the block asks the server for this path; its answer stands in the list afterwards."""

        def fits(response: Response) -> bool:
            return path in response.url and not response.request.is_navigation_request()

        answers: list[Response] = []
        with self.page.expect_response(fits) as found:
            yield answers
        answers.append(found.value)
        assert found.value.status == 200, f"{found.value.url}: {found.value.status} {found.value.text()}"

    def _note(self, response: Response) -> None:
        request: Request = response.request
        no_training = request.method == "GET" and "/train/" in request.url  # MONAI Label's way to say "none"
        if response.status >= 400 and not no_training:
            self.refused.append(f"{request.method} {request.url}: {response.status}")

    def _agree(self, dialog: Dialog) -> None:
        dialog.accept()


@contextmanager
def chromium(width: int = 1280, height: int = 800) -> Iterator[Page]:
    """A page of the Chromium of this machine."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    assert program, "Chromium is not installed: make test-e2e installs it on Debian (apt-get install chromium)"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        try:
            yield browser.new_page(viewport={"width": width, "height": height})
        finally:
            browser.close()
