"""How long a reader waits: the server's start, a segmentation over HTTP, and the next study among 2,000.

    python benchmarks/serving.py

Starts real servers on the loopback interface, on scans of the left atrium where there are some, else phantoms as large.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import requests
from tqdm import tqdm

from benchmarks.sets import load_set, write_figures
from lib.config import Config
from lib.inference.model_file import Model
from lib.selection.store import ScoreStore
from lib.studies.cases import find_cases
from lib.studies.labels import label_map
from lib.studies.phantoms import write_studies
from lib.training.model_folder import ModelFolder
from lib.training.train import train

APP = Path(__file__).resolve().parents[1] / "apps" / "semiseg"
STUDIES = 2000
SHAPE = (96, 71, 44)  # of a scan of the left atrium at 1.25 mm
PATCH = (56, 56, 40)


def main() -> None:
    args = parser().parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        studies, folder = Path(scratch) / "studies", ModelFolder(Path(scratch) / "model")
        write_reading_list(args, studies)
        train_briefly(studies, folder)
        figures = segmenting(studies, folder, args.requests)
        many = Path(scratch) / "many"
        multiply(studies, many, STUDIES)
        figures |= choosing(many, folder, args.requests)
    for key, value in figures.items():
        print(f"{key:<22}{value:>10.3f}")
    write_figures(args.json, figures)


def write_reading_list(args: argparse.Namespace, studies: Path) -> None:
    """Six studies, two of them labelled."""
    root = args.studies or os.environ.get("SEMISEG_DATA")
    if not root:
        write_studies(studies, 6, 2, 0, shape=SHAPE)
        return
    data = load_set(Path(root), "la")
    (studies / "labels" / "final").mkdir(parents=True)
    for number, (case,) in enumerate(data.patients[:6]):
        (studies / case.image.name).symlink_to(case.image.resolve())
        if number < 2 and case.label:
            (studies / "labels" / "final" / case.label.name).symlink_to(case.label.resolve())
    labels = {name: value for value, name in data.labels.values.items()}
    (studies / "dataset.json").write_text(json.dumps({"labels": labels}))


def train_briefly(studies: Path, folder: ModelFolder) -> None:
    """A model of the usual size; what it has learnt does not matter here."""
    config = Config(iterations=10, patch=PATCH, size="small", validation=0)
    cases = find_cases(studies)
    train(cases, label_map(config, studies, cases), config, folder)


def segmenting(studies: Path, folder: ModelFolder, count: int) -> dict[str, float]:
    """Start, and warm inferences with the time that the network itself took in them."""
    with server(studies, folder) as (url, ready):
        image = sorted(studies.glob("*.nii.gz"))[-1].name.removesuffix(".nii.gz")
        infer(url, image)
        seconds, network = zip(*(infer(url, image) for _ in tqdm(range(count), "infer")), strict=True)
    share = statistics.median(part / whole for part, whole in zip(network, seconds, strict=True))
    return {"seconds_to_ready": ready, "infer_ms": 1000 * statistics.median(seconds), "infer_network_share": share}


def infer(url: str, image: str) -> tuple[float, float]:
    """Seconds until label and parameters have arrived, and of these in the network."""
    start = time.perf_counter()
    answer = requests.post(f"{url}/infer/semiseg", params={"image": image}, data={"params": "{}"}, timeout=120)
    seconds = time.perf_counter() - start
    answer.raise_for_status()
    begin = answer.text.index('"latencies"')
    latencies = json.loads(answer.text[answer.text.index("{", begin) : answer.text.index("}", begin) + 1])
    return seconds, latencies["network"]


def multiply(studies: Path, many: Path, count: int) -> None:
    """One small study under so many names."""
    many.mkdir()
    source = sorted(studies.glob("*.nii.gz"))[0].resolve()
    for number in range(count):
        (many / f"study_{number:05d}.nii.gz").hardlink_to(source)
    (many / "dataset.json").write_bytes((studies / "dataset.json").read_bytes())


def choosing(many: Path, folder: ModelFolder, count: int) -> dict[str, float]:
    """The next study while every one of them has a score."""
    assert folder.live is not None
    store, model, rng = ScoreStore(folder.scores), Model.load(folder.live).checksum, random.Random(0)
    for case in tqdm(find_cases(many), "score"):
        store.put(case.id, model, rng.random(), {}, 0.0)
    with server(many, folder) as (url, _):
        times = next_milliseconds(url, "uncertainty", 10 * count)
    return {"next_ms_p50": statistics.median(times), "next_ms_p95": statistics.quantiles(times, n=20)[-1]}


def next_milliseconds(url: str, strategy: str, count: int) -> list[float]:
    """How long each of so many requests for the next study took."""
    times = []
    for _ in tqdm(range(count), f"next, {strategy}"):
        start = time.perf_counter()
        answer = requests.post(f"{url}/activelearning/{strategy}", json={}, timeout=60)
        times.append(1000 * (time.perf_counter() - start))
        assert "pool" in answer.json(), answer.text
    return times


@contextmanager
def server(studies: Path | str, folder: ModelFolder) -> Iterator[tuple[str, float]]:
    """The address of a server of these studies, and the seconds from launch to the first answer of ``/info/``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "monailabel.main", "start_server", "--app", str(APP), "--studies", str(studies)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--conf", "model", str(folder.path)]
    url, start = f"http://127.0.0.1:{port}", time.perf_counter()
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=quiet, stderr=quiet, start_new_session=True, cwd=folder.path.parent)
    try:
        while not answers(url):
            if process.poll() is not None:
                raise SystemExit("The server did not start; start it by hand to see why")
            time.sleep(0.05)
        yield url, time.perf_counter() - start
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/info/", timeout=30).ok
    except requests.ConnectionError:
        return False


def parser() -> argparse.ArgumentParser:
    given = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    given.add_argument("--studies", help="folder of the sets (else SEMISEG_DATA, else phantoms)")
    given.add_argument("--requests", type=int, default=10, help="segmentations; ten times as many for the next study")
    given.add_argument("--json", help="write the figures here")
    return given


if __name__ == "__main__":
    main()
