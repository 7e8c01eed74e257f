"""The project page in headless Chromium with real clicks: it shows what the server says, and what it offers works."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from lib.inference.model_file import Model
from lib.selection.store import ScoreStore
from lib.training.model_folder import ModelFolder
from tests.e2e.labelling_project import BROKEN, ROUNDS, SETTINGS, STUDIES, write_project
from tests.e2e.ohif_page import chromium
from tests.e2e.project_page import PICTURES, Visit
from tests.e2e.users import log_in, write_users

pytestmark = [pytest.mark.programs, pytest.mark.timeout(900)]

ITERATIONS = 160 if PICTURES else 8
TERMS = {"loss": "sum, weighted"}
READERS = ("ann", "ben", "ann", "ann")  # of the first labels, corrected once more
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "best-practice"]}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ModelFolder]:
    return write_project(tmp_path_factory.mktemp("page"), ITERATIONS)


@pytest.fixture(scope="module")
def server(project: tuple[Path, ModelFolder], start_server: Callable[..., Any]) -> Any:
    studies, model = project
    conf = {**SETTINGS, "model": model.path, "iterations": 5000, "method": "multiscale", "score_minutes": 0.1}
    server = start_server(studies, studies.parent, **conf).wait_until_ready()
    for place, file in enumerate(sorted((studies.parent / "truth" / "labels" / "final").iterdir())[: len(READERS)]):
        submit(server, file, READERS[place])
    return server


def submit(server: Any, label: Path, reader: str) -> None:
    """As 3D Slicer does, which names its user."""
    named = [{"name": "organ", "idx": 1}, {"name": "lesion", "idx": 2}]
    form = {"params": json.dumps({"label_info": named, "client_id": reader})}
    with label.open("rb") as file:
        requests.put(
            f"{server.url}/datastore/label", params={"image": label.name.removesuffix(".nii.gz")}, data=form,
            files={"label": (label.name, file)}, timeout=60,
        ).raise_for_status()  # fmt: skip


@pytest.fixture
def visit(server: Any) -> Iterator[Visit]:
    with chromium(1280, 900) as page:
        found = Visit(page, server)
        found.open()
        yield found
        assert (found.bugs, found.foreign, found.refused) == ([], [], [])


def eventually(agrees: Callable[[], None], seconds: float = 60) -> None:
    """The page is seconds behind what the server finds out in the background."""
    end = time.monotonic() + seconds
    while True:
        try:
            return agrees()
        except AssertionError:
            if time.monotonic() > end:
                raise
            time.sleep(0.5)


def number(value: float | None, digits: int = 3) -> str:
    return "\u2013" if value is None else f"{value:.{digits}f}"


def test_each_block_shows_what_the_server_says(visit: Visit, project: tuple[Path, ModelFolder]) -> None:
    server, page = visit.server, visit.page
    server.post("/scoring/dice", run_sync=True)
    model = visit.data("model")
    assert [each["labels"] for each in model["rounds"]] == [*ROUNDS, ROUNDS[-1]]
    rows = visit.rows("Trainings, the latest first")
    for row, each in zip(rows, reversed(model["rounds"]), strict=True):
        assert row[1:5] == [each["method"], str(each["labels"]), str(each["unlabelled"]), number(each["dice"])]
    assert [row[0] for row in visit.rows("Kept versions")] == project[1].versions()[::-1]
    (against,) = model["comparisons"]
    assert against["gain"] == pytest.approx(model["rounds"][-2]["dice"] - model["rounds"][-1]["dice"])
    assert visit.rows("Same labels")[0][3:5] == [number(against["supervised"]), number(against["semi_supervised"])]
    drawn = page.locator("#model-body .chart").first.locator("[data-series=mean] circle")
    assert drawn.count() == len(model["rounds"])

    def next_agrees() -> None:
        following = visit.data("next")
        assert project[1].live
        scores = ScoreStore(project[1].scores).get(Model.load(project[1].live).checksum)
        assert {each["study"]: each["score"] for each in following["rows"] if each["rank"]}.items() <= scores.items()
        shown = visit.rows("Unlabelled studies, the highest score first")
        assert [row[2] for row in shown] == [each["study"] for each in following["rows"]]
        assert [row[3] for row in shown] == [number(each["score"]) for each in following["rows"]]
        known = [each["score"] for each in following["rows"] if each["score"] is not None]
        assert known == sorted(known, reverse=True)
        assert following["total"] == STUDIES - ROUNDS[-1] + 1

    def doubts_agree() -> None:
        labels = visit.data("labels")
        infos = server.get("/datastore/", output="all")["objects"]
        for each in labels["doubted"]:
            dice = infos[each["study"]]["labels"]["final"]["info"]["dice"]["dice"]
            assert each["dice"] == pytest.approx(sum(dice.values()) / len(dice))
        shown = visit.rows("Labels with the lowest Dice")
        assert [row[0] for row in shown] == [each["study"] for each in labels["doubted"]] != []

    eventually(next_agrees)
    assert BROKEN in page.get_by_role("region", name="Refused studies").inner_text()
    eventually(doubts_agree)  # comes without a reload
    found = {(row[0], int(row[1])) for row in visit.rows("Labels of each reader")}
    assert {("ann", 3), ("ben", 1)} < found
    assert visit.data("budget")["outlook"]["reason"] == server.get("/worklist/outlook")["reason"]
    assert page.locator("#budget-body .lead").inner_text() == server.get("/worklist/outlook")["reason"]
    page.set_viewport_size({"width": 1280, "height": 1200})
    visit.picture("overview")
    page.get_by_role("link", name="Report of").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Training")


def test_pictures_come_and_show_the_uncertainty_when_asked(visit: Visit) -> None:
    best = visit.data("next")["rows"][0]["study"]
    button = visit.page.get_by_role("button", name=f"Uncertainty over the most uncertain slice of {best}")
    button.scroll_into_view_if_needed()
    expect(button.locator("img")).to_be_visible()
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    assert "uncertainty=true" in (button.locator("img").get_attribute("src") or "")
    address = f"{visit.server.url}/semiseg/picture/{best}"
    plain, doubt = (requests.get(address, {"uncertainty": flag}, timeout=60) for flag in ("false", "true"))
    assert plain.headers["content-type"] == doubt.headers["content-type"] == "image/png"
    assert plain.content != doubt.content
    again = requests.get(address, headers={"If-None-Match": plain.headers["etag"]}, timeout=60)
    assert (again.status_code, again.content) == (304, b"")
    visit.page.locator("#next-heading").scroll_into_view_if_needed()
    for image in visit.page.locator(".thumb img").all():
        image.locator("xpath=..").scroll_into_view_if_needed()
        expect(image).to_be_visible()
    visit.page.get_by_role("link", name="Next", exact=True).click()
    visit.picture("next")


def test_a_study_is_skipped_and_offered_again_with_the_keyboard(visit: Visit) -> None:
    page, study = visit.page, visit.data("next")["rows"][1]["study"]
    page.get_by_role("button", name=f"Skip {study}").click()
    visit.told(re.compile("Enter your name"))
    expect(page.get_by_label("Skip and offer again as reader")).to_be_focused()
    page.keyboard.type("ann")
    page.keyboard.press("Tab")
    page.get_by_role("button", name=f"Skip {study}").focus()
    page.keyboard.press("Enter")
    visit.told(f"{study} is not offered to ann any more")
    expect(page.get_by_role("button", name=f"Offer {study} again")).to_be_focused()
    skipped = {row["study"] for row in visit.data("next", client_id="ann")["rows"] if row["skipped"]}
    assert skipped == {study}
    assert not any(row["skipped"] for row in visit.data("next", client_id="ben")["rows"])
    page.keyboard.press("Enter")
    visit.told(f"{study} is offered to ann again")
    assert not any(row["skipped"] for row in visit.data("next", client_id="ann")["rows"])


def test_an_earlier_version_is_made_live_after_asking(visit: Visit) -> None:
    page, (first, *_, last) = visit.page, [each["version"] for each in visit.data("model")["versions"][::-1]]
    for version in (first, last):
        page.get_by_role("button", name=f"Go back to version {version}").click()
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
        assert visit.data("model")["live"] != version, "it was cancelled"
        page.get_by_role("button", name=f"Go back to version {version}").click()
        dialog.get_by_role("button", name=f"Go back to {version}").click()
        visit.told(f"Version {version} is live")
        assert visit.data("model")["live"] == version
        expect(page.locator("#facts")).to_contain_text(version)
    done = [(each["what"], each["study"]) for each in visit.data("labels")["events"]]
    assert done.count(("model restored", None)) == 2


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 768)])
def test_contrast_structure_and_reflow(visit: Visit, scheme: Any, width: int) -> None:
    page = visit.page
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    visit.open()
    for button in page.locator(".thumb").all():
        button.scroll_into_view_if_needed()
        expect(button.locator("img")).to_be_visible()
    page.evaluate("scrollTo(0, 0)")
    found = Axe().run(page, options=RULES)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "only tables scroll to the side"
    visit.picture(f"{scheme}-{width}", whole=True)


def test_the_whole_page_is_reached_by_the_keyboard(visit: Visit) -> None:
    page = visit.page
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    wanted = page.locator("button:visible:not(:disabled), a:visible, input:visible, summary:visible").count()
    seen = set()
    for _ in range(3 * wanted):
        where = page.evaluate(
            """() => { const at = document.activeElement, style = getComputedStyle(at);
            return [[...document.querySelectorAll('*')].indexOf(at), at.tagName, style.outlineStyle !== 'none']; }"""
        )
        assert where[2] or where[1] == "BODY", f"the focus on {where} is not seen"
        seen.add((where[0], where[1]))
        page.keyboard.press("Tab")
    reached = [tag for _, tag in seen if tag in ("BUTTON", "A", "INPUT", "SUMMARY")]
    assert len(reached) == wanted


def test_a_training_is_followed_and_stopped(visit: Visit) -> None:
    page, server = visit.page, visit.server
    server.post("/train/semiseg", {})
    state = page.locator("#training-state")
    expect(state).to_contain_text(re.compile(r"iteration [1-9]\d* of 5000.*left"), timeout=240_000)
    now = visit.data("now")["training"]
    assert now["running"] is True
    terms = {row[0] for row in visit.rows("Losses of the terms")}
    assert terms == {TERMS.get(name, name.replace("_", " ")) for name in now["losses"] if "/" not in name}
    bar = page.get_by_role("progressbar", name="Iterations done")
    assert 0 < int(bar.get_attribute("value") or 0) < 5000
    page.get_by_role("link", name="Now", exact=True).click()
    visit.picture("now")
    page.get_by_role("button", name="Stop the training").click()
    page.get_by_role("dialog").get_by_role("button", name="Stop it").click()
    visit.told(re.compile("asked to stop"))
    end = time.monotonic() + 240
    while server.get("/info/")["train_stats"]["semiseg"]["status"] not in ("stopped", "done"):
        assert time.monotonic() < end
        time.sleep(0.5)
    expect(state).to_contain_text("was stopped", timeout=120_000)
    expect(page.get_by_role("button", name="Stop the training")).to_be_hidden()


@pytest.mark.parametrize(("name", "role", "may"), [("ann", "reader", False), ("boss", "admin", True)])
def test_who_is_logged_in_sees_what_the_role_may_do(
    project: tuple[Path, ModelFolder], start_server: Callable[..., Any], name: str, role: str, may: bool
) -> None:
    studies, model = project
    folder = studies.parent / name
    folder.mkdir()
    conf = {**SETTINGS, "model": model.path, "score_minutes": 0.1, "users": write_users(folder / "users")}
    server = start_server(studies, folder, **conf).wait_until_ready()
    with chromium(1280, 900) as page:
        visit = Visit(page, server)
        page.goto(f"{server.url}/semiseg/")
        log_in(page, name)
        page.locator("html[data-loaded=true]").wait_for()
        expect(page.get_by_role("link", name=f"{name} ({role})")).to_be_visible()
        assert not page.locator("#reader-form").is_visible(), "the reader is who is logged in"
        versions = visit.rows("Kept versions")
        assert len(versions) > 1
        assert sum(row[-1] == "Go back" for row in versions) == (len(versions) - 1 if may else 0)
        page.goto(f"{server.url}/auth/login")
        page.get_by_role("button", name="Log out").click()
        page.goto(f"{server.url}/semiseg/")
        page.get_by_label("Password").wait_for()
        assert (visit.bugs, visit.foreign, visit.refused) == ([], [], [])
