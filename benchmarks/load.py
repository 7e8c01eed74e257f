"""Sixteen readers at one server for ten minutes: is every label kept as its reader submitted it, and does it answer?

    python benchmarks/load.py --readers 16 --minutes 10 --json load.json      # --minutes 0.5 as a quick test

A real server on the loopback interface over small phantoms, with a model that was never trained. Each reader asks for
the next study, fetches the image, has it segmented, submits a label that nobody else submits, and looks at ``/info/``;
when no study is left, the own ones are corrected. At the end the server is killed, and the labels on disk are compared
with what was submitted last.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import nibabel as nib
import numpy as np
import requests
import torch
from tqdm import tqdm

from benchmarks.serving import server
from benchmarks.sets import write_figures
from lib.config import Config
from lib.inference.model_file import Model
from lib.methods.registry import build_method
from lib.studies.cases import find_cases
from lib.studies.labels import LabelMap
from lib.studies.phantoms import write_studies
from lib.studies.plan import Plan
from lib.training.model_folder import ModelFolder

SHAPE, PATCH, SPACING = (40, 40, 28), (32, 32, 24), (3.0, 3.0, 5.0)
PHANTOMS, STUDIES = 20, 400  # images, and the names they lie under
LABELS = LabelMap({1: "organ", 2: "lesion"})
NAMED = [{"name": name, "idx": value} for value, name in LABELS.values.items()]
PATIENCE = 120  # seconds for an answer
OPERATIONS = ("next", "image", "infer", "submit", "info")

NEVER = ("labels_lost", "labels_mixed", "errors_5xx_not_503", "unanswered")

Submitted = tuple[str, str]  # the label's content and its reader


def main() -> None:
    args = parser().parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        studies, folder = Path(scratch) / "studies", ModelFolder(Path(scratch) / "model")
        write_reading_list(studies, args.seed)
        publish_untrained(folder, args.seed)
        with server(studies, folder) as (url, _):
            told = Told()
            readers = read_at_once(url, args, told)
            infos = label_infos(url, [study for reader in readers for study in reader.last])
        figures = told.figures() | compare(studies, readers, infos)
    for key, value in figures.items():
        print(f"{key:<24}{value:>12.1f}")
    print("\n".join(told.failures[:10]))
    write_figures(args.json, figures)
    if any(figures[key] for key in NEVER):
        raise SystemExit(f"Not one of these may be above 0: {', '.join(NEVER)}")


class Told:
    """Statuses and seconds of all readers' requests."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.statuses: Counter[int] = Counter()
        self.failures: list[str] = []

    def add(self, operation: str, status: int, seconds: float, text: str) -> None:
        """Status 0 stands for no answer at all."""
        with self.lock:
            self.statuses[status] += 1
            if status == 200:
                self.seconds[operation].append(seconds)
            elif status != 503:
                self.failures.append(f"{operation}: {status} {text[:300]}")

    def figures(self) -> dict[str, float]:
        """Counts, and milliseconds of the requests that succeeded."""
        count = self.statuses
        found: dict[str, float] = {
            "requests": sum(count.values()),
            "errors_5xx_not_503": sum(
                number for status, number in count.items() if status > 503 or 500 <= status < 503
            ),
            "errors_4xx": sum(number for status, number in count.items() if 400 <= status < 500),
            "answers_503": count[503],
            "unanswered": count[0],
        }
        for operation in OPERATIONS:
            times = [1000 * seconds for seconds in self.seconds[operation]]
            if len(times) > 1:
                found[f"{operation}_ms_p50"] = statistics.median(times)
                found[f"{operation}_ms_p95"] = statistics.quantiles(times, n=20)[-1]
        return found


class Reader:
    """One reader: works through the list until the time is over.

    Attributes:
        last: study -> what was submitted last and taken. sent: all that was, also what was not taken.
    """

    def __init__(self, url: str, name: str, seed: Sequence[int], pause: float, told: Told) -> None:
        self.url, self.name, self.pause, self.told = url, name, pause, told
        self.rng, self.order = np.random.default_rng(seed), random.Random(str(seed))
        self.session = requests.Session()
        self.last: dict[str, Submitted] = {}
        self.sent: dict[str, set[str]] = defaultdict(set)

    def work(self, end: float) -> Reader:
        while time.monotonic() < end:
            study = self.next_study()
            if study:
                self.ask("image", "GET", "/datastore/image", params={"image": study})
                params = {"params": json.dumps({"result_compress": False})}
                self.ask("infer", "POST", "/infer/semiseg", params={"image": study, "output": "image"}, data=params)
                self.submit(study)
            self.ask("info", "GET", "/info/")
            time.sleep(self.order.uniform(0, 2 * self.pause))
        return self

    def next_study(self) -> str | None:
        answer = self.ask("next", "POST", "/activelearning/hybrid", json={"client_id": self.name})
        found = answer.json().get("id") if answer is not None else None
        return found or (self.order.choice(sorted(self.last)) if self.last else None)

    def submit(self, study: str) -> None:
        """A label of its own: once more while the server is busy, so that the reader knows what it has taken."""
        array = (self.rng.random(SHAPE) < 0.1).astype(np.uint8) * self.rng.integers(1, 3, SHAPE, dtype=np.uint8)
        content = fingerprint(array)
        self.sent[study].add(content)
        answer = self.ask(
            "submit", "PUT", "/datastore/label", params={"image": study, "tag": "final"},
            files={"label": (f"{study}.nii.gz", nifti(array, study_affine()))},
            data={"params": json.dumps({"label_info": NAMED, "client_id": self.name})},
        )  # fmt: skip
        if answer is not None:
            self.last[study] = content, self.name

    def ask(self, operation: str, method: str, path: str, **options: Any) -> requests.Response | None:
        """The answer, None if it was refused. A server that is busy is asked again when it says so."""
        while True:
            start = time.perf_counter()
            try:
                answer = self.session.request(method, self.url + path, timeout=PATIENCE, **options)
            except requests.RequestException as error:
                self.told.add(operation, 0, 0.0, str(error))
                return None
            self.told.add(
                operation, answer.status_code, time.perf_counter() - start, answer.text[:300] if not answer.ok else ""
            )
            if answer.status_code != 503:
                return answer if answer.status_code == 200 else None
            time.sleep(float(answer.headers.get("Retry-After", 1)))


def read_at_once(url: str, args: argparse.Namespace, told: Told) -> list[Reader]:
    """All readers for the length of the benchmark."""
    readers = [Reader(url, f"reader-{n}", (args.seed, n), args.pause, told) for n in range(args.readers)]
    end = time.monotonic() + 60 * args.minutes
    with ThreadPoolExecutor(args.readers) as pool, ticking(args.minutes):
        return list(pool.map(lambda reader: reader.work(end), readers))


def label_infos(url: str, studies: Sequence[str]) -> dict[str, str]:
    """Who submitted each label, as the server tells it."""
    return {
        study: requests.get(
            f"{url}/datastore/label/info", params={"label": study, "tag": "final"}, timeout=PATIENCE
        ).json().get("client_id", "")
        for study in tqdm(studies, "check")
    }  # fmt: skip


def compare(studies: Path, readers: Sequence[Reader], infos: dict[str, str]) -> dict[str, float]:
    """What lies on disk against what was taken last.

    A label is lost if there is none or one that its reader did not submit last, and mixed if it is one of another
    study or reader.
    """
    last = {study: known for reader in readers for study, known in reader.last.items()}
    assert len(last) == sum(len(reader.last) for reader in readers), "a study was offered to two readers"
    anybodys = {content: study for reader in readers for study, sent in reader.sent.items() for content in sent}
    found = {case.id: case.label for case in find_cases(studies)}
    lost = mixed = 0
    for study, (content, reader) in last.items():
        file = found.get(study)
        stored = fingerprint(np.asarray(nib.load(file).dataobj)) if file else ""
        foreign = stored != content and anybodys.get(stored, study) != study
        mixed += foreign or infos[study] != reader
        lost += stored != content and not foreign
    return {"labelled_studies": len(last), "submitted": len(anybodys), "labels_lost": lost, "labels_mixed": mixed}


def fingerprint(array: np.ndarray) -> str:
    """Equal for equal labels, whatever type they are stored as."""
    return hashlib.sha256(array.astype(np.uint8).tobytes()).hexdigest()


def nifti(array: np.ndarray, affine: np.ndarray) -> bytes:
    """As a compressed file."""
    return gzip.compress(nib.Nifti1Image(array, affine).to_bytes(), 1)


def study_affine() -> np.ndarray:
    """Of all studies here: they are copies of phantoms on one grid."""
    return np.diag([*SPACING, 1.0])


def write_reading_list(studies: Path, seed: int) -> None:
    """Many studies of few images, on one grid."""
    drawn = studies.with_name("drawn")
    images = [nib.load(drawn / f"{name}.nii.gz") for name in write_studies(drawn, PHANTOMS, 0, seed, shape=SHAPE)]
    studies.mkdir()
    files = [nifti(np.asarray(image.dataobj), study_affine()) for image in images]
    for number in range(STUDIES):
        (studies / f"study_{number:04d}.nii.gz").write_bytes(files[number % PHANTOMS])
    (studies / "dataset.json").write_bytes((drawn / "dataset.json").read_bytes())


def publish_untrained(folder: ModelFolder, seed: int) -> None:
    """A model of the usual size, random weights: it takes as long as any."""
    torch.manual_seed(seed)
    config = Config(size="small", patch=PATCH)
    method = build_method(config, 1, len(LABELS.names) + 1, PATCH)
    folder.publish(Model(config, Plan(SPACING, "mr", PATCH), LABELS, method.state_dict()), keep=1)


@contextmanager
def ticking(minutes: float) -> Iterator[None]:
    """A bar of the seconds that pass meanwhile."""
    over = threading.Event()

    def tick() -> None:
        for _ in tqdm(range(round(60 * minutes)), "reading", unit="s"):
            if over.wait(1):
                return

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def parser() -> argparse.ArgumentParser:
    given = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    given.add_argument("--readers", type=int, default=16)
    given.add_argument("--minutes", type=float, default=10.0, help="0.5 for a quick look")
    given.add_argument("--pause", type=float, default=0.0, help="mean seconds between two studies of a reader")
    given.add_argument("--seed", type=int, default=0)
    given.add_argument("--json", help="write the figures here")
    return given


if __name__ == "__main__":
    main()
