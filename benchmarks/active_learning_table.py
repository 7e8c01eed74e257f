"""The tables and figures of ``benchmarks/active_learning.py``, from the simulations that were played."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import records
from benchmarks.records import Result
from lib.selection.outlook import LEAST, Z, expected_gain
from lib.simulation.annotator import Round, read_rounds
from lib.simulation.report import Curve, curves, write_report

ROUNDS, PER_ROUND = 6, 4
CHANCE = "random"  # what every choice is compared with
BASELINE = f"supervised,{CHANCE}"  # what a lab has without any of this
SEMI = "best"  # the method of all other curves
NAME = "active_learning"  # of the records
KEY = ("set", "judged", "rules", "arm", "seed")  # of one of them
Played = dict[tuple[str, int], list[Round]]  # arm and seed -> rounds


@dataclass(frozen=True)
class Games:
    """The simulations of this machine, in a folder, and those in the records, all judged on the same studies.

    Attributes:
        rules: of each set's game, as JSON can hold them; records by other rules do not count.
    """

    folder: Path
    judged: str
    rules: Mapping[str, Mapping[str, Any]]

    def found(self, name: str) -> Played:
        """Those of this machine on this set, as far as they went."""
        played: Played = {}
        for file in sorted((self.folder / self.judged / name).glob("*/rounds.json")):
            arm, _, seed = file.parent.name.rpartition("-")
            played[arm, int(seed)] = read_rounds(file)
        return played

    def recorded(self, name: str) -> Played:
        """Those in the records, likewise."""
        game = self._game(name)
        known = [each for each in records.read(NAME) if game.items() <= each.items()]
        return {(each["arm"], each["seed"]): _rounds(each) for each in known}

    def record(self) -> None:
        """Add those of this machine to the records: the labelled studies in their order, Dice after each round."""
        own = [
            self._game(name)
            | {"arm": arm, "seed": seed, "day": time.strftime("%Y-%m-%d"), "torch": torch.__version__}
            | {"labelled": rounds[-1].labelled, "dice": [each.dice for each in rounds]}
            for name in self.rules
            for (arm, seed), rounds in self.found(name).items()
        ]
        records.keep(NAME, own, lambda each: json.dumps([each[part] for part in KEY], sort_keys=True))

    def _game(self, name: str) -> dict[str, Any]:
        rules = json.loads(json.dumps(self.rules[name], sort_keys=True))  # as it will be read: lists for tuples
        return {"set": name, "judged": self.judged, "rules": rules}

    def report(self, name: str, seeds: int, recorded: bool) -> dict[str, float]:
        """Table, plot and figures of what is there of one set.

        Only whole simulations of the first so many seeds make a curve; the first round counts of all there are, because
        chance decides most there and it costs least.
        """
        known = (self.recorded(name) if recorded else {}) | self.found(name)
        figures = first_rounds(name, known)
        played = {key: rounds for key, rounds in known.items() if key[1] < seeds and len(rounds) == ROUNDS}
        if not played:
            return figures
        folder = self.folder / self.judged / name
        folder.mkdir(parents=True, exist_ok=True)  # what is recorded needs no machine that played
        found, gains = write_report(played, folder), over_chance(played)
        _print_table(name, found, gains)
        for arm, (gain, error) in gains.items():
            figures[f"{name}/{arm}/over_random"] = gain
            if np.isfinite(error):  # of one seed there is none
                figures[f"{name}/{arm}/over_random_error"] = error
        figures |= {f"{name}/{arm}/auc": curve.auc for arm, curve in found.items()}
        figures |= {f"{name}/{arm}/auc_sd": curve.auc_sd for arm, curve in found.items()}
        if BASELINE in found and "hybrid" in found:
            goal, most = found[BASELINE].last, found[BASELINE].labels[-1]
            needed = labels_to_match(found["hybrid"], goal)
            if needed is not None:
                figures[f"{name}/labels_to_match"] = needed
            said = f"{needed:.1f}" if needed is not None else "more than it got"
            print(f"Labels that {SEMI} with hybrid needs to reach {BASELINE} with {most}: {said}")
        return figures | {f"{name}/{key}": value for key, value in outlook_figures(found).items()}


def first_rounds(name: str, known: Played) -> dict[str, float]:
    """Dice after the first round of each arm: mean and standard error over its seeds."""
    figures: dict[str, float] = {}
    for arm in dict.fromkeys(arm for arm, _ in known):
        dice = [rounds[0].dice for (other, _), rounds in known.items() if other == arm]
        error = float(np.std(dice, ddof=1) / len(dice) ** 0.5) if len(dice) > 1 else float("nan")
        mean = _with_error(f"{np.mean(dice):.4f}", error)
        print(f"{name}, {arm}: {PER_ROUND} labels, mean (standard error) of {len(dice)} seeds: {mean}")
        figures[f"{name}/{arm}/first_round"] = float(np.mean(dice))
    return figures


def _rounds(record: Result) -> list[Round]:
    return [Round(record["labelled"][: PER_ROUND * number], dice) for number, dice in enumerate(record["dice"], 1)]


def over_chance(played: Played) -> dict[str, tuple[float, float]]:
    """What the area of each arm is above that of ``random``: mean and its standard error over the seeds that both have.

    Both chose from the same studies with the same seed, so the differences of the pairs count.
    """
    area = {key: curves({key: rounds})[key[0]].auc for key, rounds in played.items()}
    gains = {}
    for arm in dict.fromkeys(arm for arm, _ in played if arm != CHANCE):
        seeds = [seed for other, seed in area if other == arm and (CHANCE, seed) in area]
        pairs = [area[arm, seed] - area[CHANCE, seed] for seed in seeds]
        if pairs:
            error = np.std(pairs, ddof=1) / len(pairs) ** 0.5 if len(pairs) > 1 else np.nan
            gains[arm] = float(np.mean(pairs)), float(error)
    return gains


def _print_table(name: str, found: Mapping[str, Curve], gains: Mapping[str, tuple[float, float]]) -> None:
    counts = " | ".join(f"{labels} labels" for labels in next(iter(found.values())).labels)
    print(f"\n| {name}: strategy | seeds | {counts} | area | sd | above `{CHANCE}` (standard error) |")
    print("|---" * (ROUNDS + 5) + "|")
    for arm, curve in sorted(found.items(), key=lambda item: -item[1].auc):
        means = " | ".join(f"{value:.4f}" for value in curve.dice.mean(0))
        gain = _with_error(f"{gains[arm][0]:+.4f}", gains[arm][1]) if arm in gains else ""
        print(f"| `{arm}` | {len(curve.dice)} | {means} | {curve.auc:.4f} | {curve.auc_sd:.4f} | {gain} |")


def _with_error(value: str, error: float) -> str:
    """Of one seed there is no error."""
    return f"{value} ({error:.4f})" if np.isfinite(error) else value


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


def labels_to_match(curve: Curve, dice: float) -> float | None:
    """Where the mean curve first reaches this Dice, between two rounds by a line; None if it never does."""
    mean = curve.dice.mean(0)
    if mean[0] >= dice:
        return float(curve.labels[0])
    for place in range(1, len(mean)):
        if mean[place] >= dice:
            share = (dice - mean[place - 1]) / (mean[place] - mean[place - 1])
            return float(np.interp(share, (0, 1), curve.labels[place - 1 : place + 1]))
    return None
