"""Which study to label next: Dice against the number of labels for each strategy, on studies with known labels.

    python benchmarks/active_learning.py --set hippocampus --seeds 3
    python benchmarks/active_learning.py --set hippocampus --seeds 12 --rounds 1 --arms cold_start random
    python benchmarks/active_learning.py --speed
    python benchmarks/active_learning.py --report --json active_learning.json

Rounds of four labels from 4 to 24, played by :mod:`lib.simulation` through the code that the server uses: each training
goes on from the model of the round before, with the same number of iterations whatever the strategy. The judged studies
are neither labelled nor unlabelled ones. Each seed has its own random two thirds of the others to choose from, because
a strategy that names the same studies each time would be one sample however often it is repeated. What is there is not
played again, what was interrupted goes on by the same command.
``--recorded`` counts the simulations in ``benchmarks/records`` as there; ``--record`` adds this machine's to them.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.active_learning_table import BASELINE, PER_ROUND, ROUNDS, SEMI, Games
from benchmarks.oracle import Oracle
from benchmarks.protocols import COMMON
from benchmarks.selection_speed import speed_figures
from benchmarks.sets import data_folder, load_set, write_figures
from benchmarks.side_by_side import run_side_by_side
from lib.command_line import HARMLESS
from lib.config import STRATEGIES, Config
from lib.device import limit_threads
from lib.errors import SemisegError
from lib.simulation.annotator import Player, Round


@dataclass(frozen=True)
class Game:
    """What is played on one set, in the published order: the last ``judged`` studies judge, all others can be chosen.

    With ``--judged development`` the ``development`` before those judge, and the last take no part: for choices.
    """

    judged: int
    development: int
    iterations: int
    settings: Mapping[str, Any] = field(default_factory=dict)

    def rules(self) -> dict[str, Any]:
        """All that makes results comparable: a simulation by other rules is of another game."""
        return dataclasses.asdict(self) | {"pool": round(POOL, 3), "pretrained": True, "per_round": PER_ROUND}


ORACLE = "oracle"  # an arm that is no strategy: the first studies by cold_start, then the truly worst
POOL = 2 / 3  # of the studies that are not judged, for each seed
GAMES: Mapping[str, Game] = {
    "hippocampus": Game(44, 40, 300, {"patch": (32, 48, 32), "modality": "mr"}),
    # at half of its resolution: six rounds of six strategies are many trainings; the weight suits short ones
    "la": Game(15, 14, 400, {"spacing": (2.5, 2.5, 2.5), "patch": (40, 40, 24), "modality": "mr", "consistency": 0.3}),
}


def main() -> int:
    given = parser()
    args = given.parse_args()
    if args.job:
        return play(args, *args.job)
    if not (args.set or args.report or args.speed):
        given.error("name a --set, or ask for --speed or the --report")
    failed, games = [], Games(args.results, args.judged, {name: game.rules() for name, game in GAMES.items()})
    if args.set:
        own = ["--studies", str(data_folder(args.studies)), "--results", str(args.results.resolve())]
        own += ["--set", args.set, "--judged", args.judged, "--rounds", str(args.rounds)]
        there = games.recorded(args.set) if args.recorded else {}
        done = {key for key, rounds in there.items() if len(rounds) >= args.rounds}
        runs = [(arm, str(seed)) for seed in range(args.seeds) for arm in args.arms if (arm, seed) not in done]
        commands = {f"{args.set}, {arm}, seed {seed}": [__file__, *own, "--job", arm, seed] for arm, seed in runs}
        failed = run_side_by_side(commands, args.jobs)
    if args.record:
        games.record()
    figures = speed_figures() if args.speed else {}
    for name in GAMES if args.report else [args.set] if args.set else []:
        figures |= games.report(name, args.seeds, args.recorded)
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
    kind, strategy = (Oracle, "cold_start") if strategy == ORACLE else (Player, strategy)
    player = player_of(args.set, args.judged, data_folder(args.studies), method or SEMI, int(seed), kind)
    limit_threads(player.config)
    folder = args.results / args.judged / args.set / f"{arm}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)

    def told(now: Round) -> None:
        line = f"{args.set}, {arm}, seed {seed}: {len(now.labelled)} labels, Dice {now.dice:.4f}"
        print(line, file=sys.stderr, flush=True)

    try:
        player.play(strategy, int(seed), args.rounds, PER_ROUND, folder, None, told)
    except SemisegError as error:
        print(f"{args.set}, {arm}, seed {seed}: {error}", file=sys.stderr)
        return 1
    return 0


def player_of(name: str, judged: str, studies: Path, method: str, seed: int, kind: type[Player] = Player) -> Player:
    """The studies and the settings of one set; all strategies of one seed choose from the same pool."""
    game, data = GAMES[name], load_set(studies, name)
    cases = [case for patient in data.patients for case in patient]
    end = len(cases) - game.judged
    start = end - game.development
    pool, judging = (cases[:start], cases[start:end]) if judged == "development" else (cases[:end], cases[end:])
    drawn = np.random.default_rng(seed).permutation(len(pool))[: round(POOL * len(pool))]
    own = {"method": method, "iterations": game.iterations, "pretrained": True, "threads": 1, "workers": 0}
    return kind(
        [pool[place] for place in sorted(drawn)], judging, data.labels,
        Config.from_conf({**COMMON, **game.settings, **own}),
    )  # fmt: skip


def parser() -> argparse.ArgumentParser:
    given = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    given.add_argument("--studies", help="folder of the sets (else SEMISEG_DATA)")
    given.add_argument("--set", choices=list(GAMES), help="to play")
    given.add_argument("--seeds", type=int, default=3, help="number of seeds")
    given.add_argument("--rounds", type=int, default=ROUNDS, help="1: the first choice alone, of more seeds")
    given.add_argument(
        "--arms",
        nargs="+",
        default=[*STRATEGIES, BASELINE],
        metavar="[METHOD,]STRATEGY",
        help=f"method: {SEMI} if none; strategy: or {ORACLE}, see benchmarks/oracle.py",
    )
    given.add_argument("--judged", default="evaluation", choices=("evaluation", "development"), help="on which studies")
    given.add_argument("--jobs", type=int, default=2, help="runs at a time, with one thread each")
    given.add_argument("--results", type=Path, default=Path("benchmarks/results/active_learning"), help="folder")
    given.add_argument("--recorded", action="store_true", help="the simulations in benchmarks/records are there too")
    given.add_argument("--record", action="store_true", help="add what is in --results to benchmarks/records")
    given.add_argument("--speed", action="store_true", help="measure the choice and the scoring")
    given.add_argument("--report", action="store_true", help="only show what is there")
    given.add_argument("--json", help="write the figures here")
    given.add_argument("--job", nargs=2, help=argparse.SUPPRESS)  # one run, in its own process
    return given


if __name__ == "__main__":
    sys.exit(main())
