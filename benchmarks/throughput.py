"""Does the training keep the processor busy: iterations/s of the real thing against a bare loop on tensors at hand.

    python benchmarks/throughput.py --method cross_pseudo

Same network, precision, batch and threads. The bare loop does forward, loss, backward and AdamW on batches made before;
the real one also draws patches and views, clips, averages weights, logs and tells its progress. Both alternate several
times and the median of the ratios counts, because machines are noisy.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from benchmarks.sets import load_set, write_figures
from lib.config import METHODS, Config
from lib.device import autocast, limit_threads, pick_device, pick_precision, place, place_network
from lib.methods.base import total
from lib.methods.registry import build_method
from lib.studies.cache import VolumeCache
from lib.studies.cases import Case, find_cases
from lib.studies.labels import LabelMap, label_map
from lib.studies.phantoms import write_studies
from lib.studies.plan import Plan
from lib.studies.preprocess import Preprocess
from lib.training.model_folder import ModelFolder
from lib.training.prepare import Studies
from lib.training.progress import Progress
from lib.training.train import train

WARM_UP = 10  # iterations left out at the start of each measurement
BATCHES = 8  # preloaded ones of the bare loop


def main() -> None:
    args = parser().parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        cases, labels = studies(args, Path(scratch))
        config = Config(
            method=args.method, iterations=args.iterations, patch=(56, 56, 40), size="small", modality="mr",
            validation=0, pretrained=False, threads=args.threads, workers=args.workers,
            checkpoint_every=args.iterations,
        )  # fmt: skip
        limit_threads(config)
        figures = {"preprocess_per_second": preprocessing(cases, labels, Path(scratch))}
        bare, real, waits = [], [], []
        for turn in range(args.turns):
            folder = ModelFolder(Path(scratch) / f"model-{turn}")
            speed, manifest = real_training(cases, labels, config, folder)
            real.append(speed)
            waits.append(manifest["seconds"]["waiting_for_data"] / manifest["seconds"]["training"])
            bare.append(bare_loop(cases, labels, config, folder, manifest["plan"]))
            print(f"turn {turn + 1}: bare {bare[-1]:.2f} it/s, real {real[-1]:.2f} it/s, waiting {waits[-1]:.1%}")
    figures |= {
        "iterations_per_second": statistics.median(real),
        "bare_iterations_per_second": statistics.median(bare),
        "ratio_to_bare_loop": statistics.median(each / other for each, other in zip(real, bare, strict=True)),
        "data_wait_share": statistics.median(waits),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    for key, value in figures.items():
        print(f"{key:<28}{value:>10.3f}")
    write_figures(args.json, figures)


def studies(args: argparse.Namespace, scratch: Path) -> tuple[list[Case], LabelMap]:
    """Eight labelled and 16 unlabelled studies: scans of the left atrium if they are there, else phantoms."""
    root = args.studies or os.environ.get("SEMISEG_DATA")
    if root:
        data = load_set(Path(root), "la")
        return data.split(8, 15)[0][:24], data.labels
    write_studies(scratch / "studies", 24, 8, 0, shape=(96, 71, 44))
    cases = find_cases(scratch / "studies")
    return cases, label_map(Config(), scratch / "studies")


def preprocessing(cases: list[Case], labels: LabelMap, scratch: Path) -> float:
    """Studies a second into an empty cache, with one resampling in each axis."""
    cache = VolumeCache(scratch / "cache", Preprocess(Plan((1.3, 1.3, 1.3), "mr", (56, 56, 40))), labels, 1e10)
    start = time.perf_counter()
    for case in cases:
        cache.get(case)
    return len(cases) / (time.perf_counter() - start)


def real_training(cases: list[Case], labels: LabelMap, config: Config, folder: ModelFolder) -> tuple[float, dict]:
    """Iterations a second between the warm-up and the last step, and the manifest."""
    times: list[float] = []

    def listen(now: Progress) -> None:
        if now.stage == "training":
            times.append(time.perf_counter())

    result = train(cases, labels, config, folder, listen)
    return (len(times) - 1 - WARM_UP) / (times[-1] - times[WARM_UP]), json.loads(result.manifest.read_text())


def bare_loop(cases: list[Case], labels: LabelMap, config: Config, folder: ModelFolder, plan: dict) -> float:
    """The same arithmetic on batches that lie in memory."""
    device = pick_device(config.device)
    precision = pick_precision(config.precision, device)
    cache = VolumeCache(folder.cache, Preprocess(Plan.from_dict(plan)), labels, 1e10)
    sides = [case for case in cases if case.label], [], [case for case in cases if not case.label]
    method = place_network(build_method(config, 1, len(labels.names) + 1, cache.preprocess.plan.patch), device)
    patches = Studies(cache, *sides, {}, {}).patches(config, method.strong_views, config.iterations, 0, 1)
    batches = [
        {key: place(value, device) if torch.is_tensor(value) else value for key, value in patches[step].items()}
        for step in range(BATCHES)
    ]
    optimizer = torch.optim.AdamW(method.parameters(), config.learning_rate)
    for step in range(config.iterations):
        if step == WARM_UP:
            start = time.perf_counter()
        with autocast(device, precision):
            loss = total(method.losses(batches[step % BATCHES], 0.5))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        loss.item()
    return (config.iterations - WARM_UP) / (time.perf_counter() - start)


def parser() -> argparse.ArgumentParser:
    given = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    given.add_argument("--studies", help="folder of the sets (else SEMISEG_DATA, else phantoms)")
    given.add_argument("--method", default="cross_pseudo", choices=METHODS)
    given.add_argument("--iterations", type=int, default=100, help="of each measurement")
    given.add_argument("--turns", type=int, default=3, help="measurements of each loop")
    given.add_argument("--threads", type=int, default=1)
    given.add_argument("--workers", type=int, default=1)
    given.add_argument("--json", help="write the figures here")
    return given


if __name__ == "__main__":
    main()
