"""How long the next study takes among 10,000, whether two readers ever get the same one, how fast scoring is."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import requests
from tqdm import tqdm

from benchmarks.serving import SHAPE, multiply, next_milliseconds, server, train_briefly
from lib.config import STRATEGIES, Config
from lib.device import limit_threads
from lib.inference.model_file import Model
from lib.inference.segmenter import Segmenter
from lib.selection.scoring import score_studies
from lib.selection.store import ScoreStore
from lib.studies.cases import find_cases
from lib.studies.phantoms import write_studies
from lib.training.model_folder import ModelFolder

STUDIES, OFFERED, READERS, LENGTH = 10_000, 400, 8, 256
REQUESTS, TURNS, SCORED = 200, 3, 6


def speed_figures() -> dict[str, float]:
    """``next_ms_p95_10000`` (default strategy; ``/strategy`` of each), ``double_offers``, ``scoring_ratio``."""
    with tempfile.TemporaryDirectory() as scratch:
        studies, folder = Path(scratch) / "studies", ModelFolder(Path(scratch) / "model")
        write_studies(studies, SCORED, 2, 0, shape=SHAPE)
        train_briefly(studies, folder)
        figures = scoring(studies, folder, Path(scratch))
        many, few = Path(scratch) / "many", Path(scratch) / "few"
        multiply(studies, many, STUDIES)
        figures |= choosing(many, folder)
        multiply(studies, few, OFFERED)
        figures |= racing(few, folder)
    for key, value in figures.items():
        print(f"{key:<36}{value:>10.3f}")
    return figures


def scoring(studies: Path, folder: ModelFolder, scratch: Path) -> dict[str, float]:
    """Studies/s of scoring against plain inference of both branches; the two alternate, the median of the ratios."""
    assert folder.live is not None
    limit_threads(Config(threads=1))
    segmenter, cases, ratios = Segmenter.load(folder.live), find_cases(studies), []
    for turn in tqdm(range(TURNS), "scoring"):
        start = time.perf_counter()
        for case in cases:
            segmenter.predict(case.image)
        middle = time.perf_counter()
        score_studies(segmenter, cases, ScoreStore(scratch / f"scores-{turn}.sqlite"), minutes=60)
        ratios.append((middle - start) / (time.perf_counter() - middle))
    return {"scoring_ratio": statistics.median(ratios)}


def choosing(many: Path, folder: ModelFolder) -> dict[str, float]:
    """Over HTTP, every study with a score and an embedding, one in fifty labelled."""
    assert folder.live is not None
    store, model, rng = ScoreStore(folder.scores), Model.load(folder.live).checksum, np.random.default_rng(0)
    cases = find_cases(many)
    for case in tqdm(cases, "scores"):
        vector = rng.normal(size=LENGTH).astype(np.float32)
        store.put(case.id, model, float(rng.random()), {}, 0.0, 1.0, vector / np.linalg.norm(vector))
    figures: dict[str, float] = {}
    with server(many, folder) as (url, _):
        for name in STRATEGIES:
            times = next_milliseconds(url, name, REQUESTS)
            figures[f"next_ms_p95_10000/{name}"] = statistics.quantiles(times, n=20)[-1]
    return figures | {"next_ms_p95_10000": figures[f"next_ms_p95_10000/{Config().strategy}"]}


def racing(few: Path, folder: ModelFolder) -> dict[str, float]:
    """Readers who ask at once, each skipping nothing and labelling nothing, until no study is left for any of them."""
    with server(few, folder) as (url, _), ThreadPoolExecutor(READERS) as pool:

        def reader(number: int) -> list[str]:
            order = random.Random(number)
            got: list[str] = []
            while len(got) < OFFERED // READERS:
                answer = requests.post(
                    f"{url}/activelearning/{order.choice(STRATEGIES)}",
                    json={"client_id": f"reader-{number}-{len(got)}"}, timeout=60,
                ).json()  # fmt: skip
                if "id" not in answer:
                    break
                got.append(answer["id"])
            return got

        offered = Counter(study for got in pool.map(reader, range(READERS)) for study in got)
    doubles = sum(count - 1 for count in offered.values())
    return {"double_offers": float(doubles), "offers": float(sum(offered.values()))}
