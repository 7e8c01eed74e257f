"""What the unlabelled studies bring: each method against supervised training, on real studies, over several seeds.

    python benchmarks/accuracy.py --set la --labelled 8 --seeds 3

Same network, patches, views and iterations for every method; the weights of the last iteration; the judged cases take
no part in any choice. A run that is there already is not repeated, one that was interrupted is resumed: ``--results``.
``--jobs 2`` runs two at a time with one thread each. Seconds are those of the processor, which a busy machine does not
distort; with one thread on an idle machine they are what the clock shows.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.sets import DataSet, data_folder, load_set, write_figures
from lib.config import METHODS, Config
from lib.inference.evaluation import evaluate, summary
from lib.inference.segmenter import Segmentation, Segmenter
from lib.studies.cases import Case
from lib.training.model_folder import ModelFolder
from lib.training.progress import Bar
from lib.training.train import train

KEPT = {"la": 15}  # last cases of each set, kept for evaluation
PATCH = {"la": (56, 56, 40)}


def main() -> None:
    args = parser().parse_args()
    args.results = args.results.resolve()
    if args.seed is not None:
        run(args, args.methods[0], args.seed)
        return
    waiting = [(method, seed) for seed in range(args.seeds) for method in args.methods]
    with ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(lambda job: start(args, *job), waiting))
    report(args)


def start(args: argparse.Namespace, method: str, seed: int) -> None:
    """One run in a process of its own, so that memory, threads and random states are its own."""
    if result_file(args, method, seed).is_file():
        return
    own = [
        "--set",
        args.set,
        "--labelled",
        str(args.labelled),
        "--iterations",
        str(args.iterations),
        "--studies",
        str(data_folder(args.studies)),
    ]
    own += ["--results", str(args.results), "--methods", method, "--seed", str(seed), "--threads", str(args.threads)]
    subprocess.run([sys.executable, __file__, *own], check=True)


def run(args: argparse.Namespace, method: str, seed: int) -> None:
    """Train, judge, write the result."""
    logging.basicConfig(level=logging.WARNING)
    data = load_set(data_folder(args.studies), args.set)
    name = "supervised" if method == "ceiling" else method
    labelled = len(data.cases) - KEPT[args.set] if method == "ceiling" else args.labelled
    seen, judged = data.split(labelled, KEPT[args.set])
    config = Config(
        method=name, iterations=args.iterations, seed=seed, patch=PATCH[args.set], size="small", modality="mr",
        validation=0, threads=args.threads, pretrained=False, checkpoint_every=250,
    )  # fmt: skip
    folder = ModelFolder(args.results / args.set / str(args.labelled) / f"{method}-{args.iterations}-{seed}")
    result = train(seen, data.labels, config, folder, Bar(f"{args.set} {method} seed {seed}", every=60))
    manifest = json.loads(result.manifest.read_text())
    values = judge(folder, data, judged) | {
        "seconds": manifest["seconds"]["training"],
        "manifest": str(result.manifest),
    }
    result_file(args, method, seed).write_text(json.dumps(values, indent=1))


def judge(folder: ModelFolder, data: DataSet, judged: list[Case]) -> dict[str, Any]:
    """Dice and HD95 of the published model on the kept cases, on their own grid: as it is served, with the mean of its
    networks, and with the first network alone, because two networks are more than the one they are compared with."""
    live = folder.live
    assert live is not None
    segmenter = Segmenter.load(live)

    def first_network(image: Path) -> Segmentation:
        volume, geometry = segmenter.preprocess.image(image)
        label = segmenter.label(segmenter.infer(volume)[:1], geometry)
        return Segmentation(label, None, geometry.affine, {}, segmenter.version)

    evaluations, skipped = evaluate(segmenter, judged, data.labels)
    alone, _ = evaluate(first_network, judged, data.labels)
    assert not skipped, skipped
    means = summary(evaluations)
    return {
        "dice": means["dice"]["mean"],
        "hd95": means["hd95"]["mean"],
        "dice_one_network": summary(alone)["dice"]["mean"],
        "cases": [each.to_dict() for each in evaluations],
    }


def result_file(args: argparse.Namespace, method: str, seed: int) -> Path:
    place = args.results / args.set / str(args.labelled)
    place.mkdir(parents=True, exist_ok=True)
    return place / f"{method}-{args.iterations}-{seed}.json"


def report(args: argparse.Namespace) -> None:
    """The table, and the figures under the keys ``set/labelled/method/...``."""
    figures: dict[str, float] = {}
    day = time.strftime("%Y-%m-%d")
    print(f"\n{args.set}, {args.labelled} labelled, {args.iterations} iterations, {args.seeds} seeds, {day}")
    print(f"{'method':<16}{'Dice':>8}{'sd':>8}{'1 network':>11}{'HD95 mm':>9}{'seconds':>9}")
    for method in args.methods:
        found = [json.loads(result_file(args, method, seed).read_text()) for seed in range(args.seeds)]
        key = f"{args.set}/{args.labelled}/{method}"
        dice = [each["dice"] for each in found]
        figures[f"{key}/dice"] = statistics.mean(dice)
        figures[f"{key}/dice_sd"] = statistics.stdev(dice) if len(dice) > 1 else 0.0
        figures[f"{key}/dice_one_network"] = statistics.mean(each["dice_one_network"] for each in found)
        figures[f"{key}/hd95"] = statistics.mean(each["hd95"] for each in found)
        figures[f"{key}/seconds"] = statistics.mean(each["seconds"] for each in found)
        row = [figures[f"{key}/{name}"] for name in ("dice", "dice_sd", "dice_one_network", "hd95", "seconds")]
        print(f"{method:<16}{row[0]:>8.4f}{row[1]:>8.4f}{row[2]:>11.4f}{row[3]:>9.2f}{row[4]:>9.0f}")
    write_figures(args.json, figures)


def parser() -> argparse.ArgumentParser:
    given = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    given.add_argument("--studies", help="folder of the sets (else SEMISEG_DATA)")
    given.add_argument("--set", default="la", choices=sorted(KEPT))
    given.add_argument("--labelled", type=int, default=8, help="labelled cases")
    given.add_argument("--seeds", type=int, default=3, help="number of seeds")
    given.add_argument("--iterations", type=int, default=2000)
    given.add_argument("--methods", nargs="+", default=["supervised", "cross_pseudo"], choices=[*METHODS, "ceiling"])
    given.add_argument("--jobs", type=int, default=1, help="runs at a time")
    given.add_argument("--threads", type=int, default=1, help="CPU threads of a run")
    given.add_argument("--results", type=Path, default=Path("benchmarks/results/accuracy"))
    given.add_argument("--json", help="write the figures here")
    given.add_argument("--seed", type=int, help=argparse.SUPPRESS)  # one run, in its own process
    return given


if __name__ == "__main__":
    main()
