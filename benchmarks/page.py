"""The project page over 10,000 studies: how soon it is seen and whole, what it costs, and whether a training feels it.

    python benchmarks/page.py --studies 10000 --seconds 120

A real server on the loopback interface, headless Chromium. The training runs in a process of the server's own, in turns
with the page open and closed; the ratio is of its iterations a second. The browser works on the same cores, so beside
it stands what the page costs the server alone: the processor time it takes more a second, as a share of a core.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psutil
import requests
from playwright.sync_api import Browser, sync_playwright
from tqdm import tqdm

from benchmarks.load import publish_untrained
from benchmarks.serving import multiply, server
from benchmarks.sets import write_figures
from lib.inference.model_file import Model
from lib.selection.store import ScoreStore
from lib.studies.cases import find_cases
from lib.studies.phantoms import write_studies
from lib.training.model_folder import ModelFolder
from tests.e2e.ohif_page import PROGRAMS

SHAPE, LOADS = (40, 40, 28), 5
TRAINING = {"method": "cross_pseudo", "iterations": 100_000, "size": "small", "patch": "16,16,16", "workers": 0}
PAINT = "performance.getEntriesByName('first-contentful-paint').map(each => each.startTime)"
BYTES = "performance.getEntries().reduce((sum, each) => sum + (each.transferSize || 0), 0)"
REQUESTS = "performance.getEntries().filter(each => each.responseStart !== undefined).length"


def main() -> None:
    args = parser().parse_args()
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        studies, folder = Path(scratch) / "studies", ModelFolder(Path(scratch) / "model")
        write_reading_list(Path(scratch), studies, folder, args.studies)
        program = next(found for name in PROGRAMS if (found := shutil.which(name)))
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        with server(studies, folder) as (url, _):
            figures = loading(browser, url) | training_ratio(browser, url, args.seconds, args.turns)
        browser.close()
    for key, value in figures.items():
        print(f"{key:<20}{value:>12.3f}")
    write_figures(args.json, figures)


def write_reading_list(scratch: Path, studies: Path, folder: ModelFolder, count: int) -> None:
    """So many studies of one image, six of them labelled, all scored by a model that was never trained."""
    few = scratch / "few"
    ids = write_studies(few, 6, 6, 0, shape=SHAPE)
    multiply(few, studies, count)
    (studies / "labels" / "final").mkdir(parents=True)
    for number in range(6):
        label = few / "labels" / "final" / f"{ids[0]}.nii.gz"
        (studies / "labels" / "final" / f"study_{number:05d}.nii.gz").hardlink_to(label)
    publish_untrained(folder, 0)
    assert folder.live
    store, model, rng = ScoreStore(folder.scores), Model.load(folder.live).checksum, random.Random(0)
    for case in tqdm(find_cases(studies), "score"):
        store.put(case.id, model, rng.random(), {"classes": {"1": 0.1, "2": 0.2}}, 0.0)


def loading(browser: Browser, url: str) -> dict[str, float]:
    """First paint, and all blocks drawn, each time by a browser that has nothing kept; medians. Without thumbnails,
    which come as they are looked at."""
    found: dict[str, list[float]] = {"first_paint_ms": [], "load_ms": [], "bytes": [], "requests": []}
    for _ in tqdm(range(LOADS), "load"):
        with browser.new_context() as context:
            page = context.new_page()
            page.set_default_timeout(120_000)
            page.route("**/picture/**", lambda route: route.abort())
            start = time.perf_counter()
            page.goto(f"{url}/semiseg/", wait_until="commit")
            page.locator("html[data-loaded=true]").wait_for()
            found["load_ms"].append(1000 * (time.perf_counter() - start))
            while not (painted := page.evaluate(PAINT)):  # is noted a frame later
                page.wait_for_timeout(50)
            found["first_paint_ms"].append(painted[0])
            found["bytes"].append(page.evaluate(BYTES))
            found["requests"].append(page.evaluate(REQUESTS))
    return {key: statistics.median(values) for key, values in found.items()}


def training_ratio(browser: Browser, url: str, seconds: float, turns: int) -> dict[str, float]:
    """Iterations a second with the page open over those without, in turns, so that a drift of the machine cancels."""
    requests.post(f"{url}/train/semiseg", json=TRAINING, timeout=60).raise_for_status()
    while step(url) < 50:
        time.sleep(1)
    rates: dict[bool, list[float]] = {True: [], False: []}
    loads: dict[bool, list[float]] = {True: [], False: []}
    for turn in tqdm(range(2 * turns), "train"):
        looked = turn % 4 in (1, 2)
        with browser.new_context() as context:
            if looked:
                page = context.new_page()
                page.goto(f"{url}/semiseg/")
                page.locator("html[data-loaded=true]").wait_for()
            start, used = time.perf_counter(), processor_seconds()
            rates[looked].append(pace(url, seconds / (2 * turns)))
            loads[looked].append((processor_seconds() - used) / (time.perf_counter() - start))
    requests.delete(f"{url}/train/", timeout=60)
    found = {looked: statistics.mean(each) for looked, each in rates.items()}
    return {
        "training_ratio": found[True] / found[False],
        "iterations_per_s": found[False],
        "server_cores": statistics.mean(loads[True]) - statistics.mean(loads[False]),
    }


def processor_seconds() -> float:
    """Of the server until now, without the training, which is a process of its own."""
    times = next(child for child in psutil.Process().children() if "start_server" in child.cmdline()).cpu_times()
    return times.user + times.system


def pace(url: str, seconds: float) -> float:
    first, start = step(url), time.perf_counter()
    time.sleep(seconds)
    return (step(url) - first) / (time.perf_counter() - start)


def step(url: str) -> int:
    stats: dict[str, Any] = requests.get(f"{url}/info/", timeout=60).json()["train_stats"]
    return int(stats.get("semiseg", {}).get("step") or 0)


def parser() -> argparse.ArgumentParser:
    given = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    given.add_argument("--studies", type=int, default=10_000)
    given.add_argument("--seconds", type=float, default=240, help="of training that are looked at")
    given.add_argument("--turns", type=int, default=6, help="with the page open, and as many without")
    given.add_argument("--json", help="write the figures here")
    return given


if __name__ == "__main__":
    main()
