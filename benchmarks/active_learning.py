"""Which study to label next: Dice against the number of labels for each strategy, on studies with known labels.

    python benchmarks/active_learning.py --set hippocampus --seeds 3
    python benchmarks/active_learning.py --speed
    python benchmarks/active_learning.py --report --json active_learning.json

Rounds of four labels from 4 to 24, played by :mod:`lib.simulation` through the code that the server uses. Every round
is trained from nothing, with the same number of iterations whatever the strategy. The judged studies are neither
labelled nor unlabelled ones. What is there is not played again, what was interrupted goes on by the same command.
"""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.protocols import COMMON
from benchmarks.selection_speed import speed_figures
from benchmarks.sets import data_folder, load_set, write_figures
from benchmarks.side_by_side import run_side_by_side
from lib.command_line import HARMLESS
from lib.config import STRATEGIES, Config
from lib.device import limit_threads
from lib.errors import SemisegError
from lib.selection.outlook import LEAST, Z, expected_gain
from lib.simulation.annotator import Player, Round, read_rounds
from lib.simulation.report import Curve, write_report

ROUNDS, PER_ROUND = 6, 4
BASELINE = "supervised,random"  # what a lab has without any of this
SEMI = "best"  # the method of all other curves


@dataclass(frozen=True)
class Game:
    """What is played on one set, in the published order: the last ``judged`` studies judge, all others can be chosen.

    With ``--judged development`` the ``development`` before those judge, and the last take no part: for choices.
    """

    judged: int
    development: int
    iterations: int
    settings: Mapping[str, Any] = field(default_factory=dict)


GAMES: Mapping[str, Game] = {
    "hippocampus": Game(44, 40, 600, {"patch": (32, 48, 32), "modality": "mr"}),
    # at half of its resolution: six rounds of six strategies are many trainings
    "la": Game(15, 14, 400, {"spacing": (2.5, 2.5, 2.5), "patch": (40, 40, 24), "modality": "mr"}),
}


def main() -> int:
    given = parser()
    args = given.parse_args()
    if args.job:
        return play(args, *args.job)
    if not (args.set or args.report or args.speed):
        given.error("name a --set, or ask for --speed or the --report")
    failed = []
    if args.set:
        own = ["--studies", str(data_folder(args.studies)), "--results", str(args.results.resolve())]
        own += ["--set", args.set, "--judged", args.judged]
        runs = [(arm, str(seed)) for seed in range(args.seeds) for arm in args.arms]
        commands = {f"{args.set}, {arm}, seed {seed}": [__file__, *own, "--job", arm, seed] for arm, seed in runs}
        failed = run_side_by_side(commands, args.jobs)
    figures = speed_figures() if args.speed else {}
    for name in GAMES if args.report else [args.set] if args.set else []:
        figures |= report(args.results / args.judged / name, name, args.seeds)
    write_figures(args.json, figures)
    for line in failed:
        print(f"Failed: {line}", file=sys.stderr)
    return 1 if failed or not figures else 0


def play(args: argparse.Namespace, arm: str, seed: str) -> int:
    """One arm, ``[method,]strategy``, with one seed, in its own process."""
    logging.basicConfig(level=logging.WARNING)
    for message in HARMLESS:
        warnings.filterwarnings("ignore", message)
    method, _, strategy = arm.rpartition(",")
    player = player_of(args.set, args.judged, data_folder(args.studies), method or SEMI)
    limit_threads(player.config)
    folder = args.results / args.judged / args.set / f"{arm}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)

    def told(now: Round) -> None:
        line = f"{args.set}, {arm}, seed {seed}: {len(now.labelled)} labels, Dice {now.dice:.4f}"
        print(line, file=sys.stderr, flush=True)

    try:
        player.play(strategy, int(seed), ROUNDS, PER_ROUND, folder, None, told)
    except SemisegError as error:
        print(f"{args.set}, {arm}, seed {seed}: {error}", file=sys.stderr)
        return 1
    return 0


def player_of(name: str, judged: str, studies: Path, method: str) -> Player:
    """The studies and the settings of one set."""
    game, data = GAMES[name], load_set(studies, name)
    cases = [case for patient in data.patients for case in patient]
    end = len(cases) - game.judged
    start = end - game.development
    sides = (cases[:start], cases[start:end]) if judged == "development" else (cases[:end], cases[end:])
    own = {"method": method, "iterations": game.iterations, "threads": 1, "workers": 0}
    return Player(*sides, data.labels, Config.from_conf({**COMMON, **game.settings, **own}))


def report(folder: Path, name: str, seeds: int) -> dict[str, float]:
    """Table, plot and figures of what is there of one set: arms that have all rounds of at least one seed."""
    played: dict[tuple[str, int], list[Round]] = {}
    for file in sorted(folder.glob("*/rounds.json")):
        arm, _, seed = file.parent.name.rpartition("-")
        rounds = read_rounds(file)
        if len(rounds) == ROUNDS and int(seed) < seeds:
            played[arm, int(seed)] = rounds
    if not played:
        return {}
    found = write_report(played, folder)
    counts = " | ".join(f"{labels} labels" for labels in next(iter(found.values())).labels)
    print(f"\n| {name}: strategy | seeds | {counts} | area | sd |")
    print("|---" * (ROUNDS + 4) + "|")
    for arm, curve in sorted(found.items(), key=lambda item: -item[1].auc):
        means = " | ".join(f"{value:.4f}" for value in curve.dice.mean(0))
        print(f"| `{arm}` | {len(curve.dice)} | {means} | {curve.auc:.4f} | {curve.auc_sd:.4f} |")
    figures = {f"{name}/{arm}/auc": curve.auc for arm, curve in found.items()}
    figures |= {f"{name}/{arm}/auc_sd": curve.auc_sd for arm, curve in found.items()}
    figures |= {f"{name}/{arm}/first_round": float(curve.dice[:, 0].mean()) for arm, curve in found.items()}
    if BASELINE in found and "hybrid" in found:
        figures[f"{name}/labels_to_match"] = needed = labels_to_match(
            found["hybrid"], found[BASELINE].dice[:, -1].mean()
        )
        print(
            f"Labels that {SEMI} with hybrid needs to reach {BASELINE} with {found[BASELINE].labels[-1]}: {needed:.1f}"
        )
    figures |= {f"{name}/{key}": value for key, value in outlook_figures(found).items()}
    return figures


def outlook_figures(found: Mapping[str, Curve]) -> dict[str, float]:
    """How good the estimate of the next round's gain was, made after each round of each simulation that had enough
    before it: its mean absolute error, that of expecting no gain, and how often the truth was in the 80 % interval."""
    misses, gains, inside = [], [], []
    for curve in found.values():
        for dice in curve.dice.tolist():
            for past in range(LEAST, len(dice)):
                before = list(zip(curve.labels[:past], dice[:past], strict=True))
                said, sd = expected_gain(before, curve.labels[past] - curve.labels[past - 1])
                gain = dice[past] - dice[past - 1]
                misses.append(abs(said - gain))
                gains.append(abs(gain))
                inside.append(misses[-1] <= Z * sd)
    figures = {"outlook_error": misses, "no_gain_error": gains, "outlook_inside": inside}
    means = {key: float(np.mean(values)) for key, values in figures.items()}
    print("Estimates of the next round's gain: " + ", ".join(f"{key} {value:.4f}" for key, value in means.items()))
    return means


def labels_to_match(curve: Curve, dice: float) -> float:
    """Where the mean curve first reaches this Dice, between two rounds by a line; inf if it never does."""
    mean = curve.dice.mean(0)
    if mean[0] >= dice:
        return float(curve.labels[0])
    for place in range(1, len(mean)):
        if mean[place] >= dice:
            share = (dice - mean[place - 1]) / (mean[place] - mean[place - 1])
            return float(np.interp(share, (0, 1), curve.labels[place - 1 : place + 1]))
    return float("inf")


def parser() -> argparse.ArgumentParser:
    given = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    given.add_argument("--studies", help="folder of the sets (else SEMISEG_DATA)")
    given.add_argument("--set", choices=list(GAMES), help="to play")
    given.add_argument("--seeds", type=int, default=3, help="number of seeds")
    given.add_argument(
        "--arms",
        nargs="+",
        default=[*STRATEGIES, BASELINE],
        metavar="[METHOD,]STRATEGY",
        help=f"method: {SEMI} if none",
    )
    given.add_argument("--judged", default="evaluation", choices=("evaluation", "development"), help="on which studies")
    given.add_argument("--jobs", type=int, default=2, help="runs at a time, with one thread each")
    given.add_argument("--results", type=Path, default=Path("benchmarks/results/active_learning"), help="folder")
    given.add_argument("--speed", action="store_true", help="measure the choice and the scoring")
    given.add_argument("--report", action="store_true", help="only show what is there")
    given.add_argument("--json", help="write the figures here")
    given.add_argument("--job", nargs=2, help=argparse.SUPPRESS)  # one run, in its own process
    return given


if __name__ == "__main__":
    sys.exit(main())
