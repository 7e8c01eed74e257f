"""Label efficiency: Dice against the number of labels, its area, as JSON, CSV and a plot."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np

from lib.simulation.annotator import Round

MARKERS = "os^vDPX"  # curves are to be told apart without their colours too
Played = Mapping[tuple[str, int], Sequence[Round]]  # strategy and seed -> its rounds


@dataclass(frozen=True)
class Curve:
    """One strategy over its seeds.

    Attributes:
        labels: how many there were after each round. dice: ``(seeds, rounds)``.
    """

    labels: list[int]
    dice: np.ndarray

    @property
    def areas(self) -> np.ndarray:
        """Area under Dice over labels by trapezoids, ``(seeds,)``, divided by the range of labels, so that it is a mean
        Dice; of a single round its Dice."""
        if len(self.labels) == 1:
            return self.dice[:, 0]
        widths = np.diff(self.labels)
        return ((self.dice[:, 1:] + self.dice[:, :-1]) / 2 * widths).sum(1) / widths.sum()

    @property
    def auc(self) -> float:
        """Mean of the areas."""
        return float(self.areas.mean())

    @property
    def auc_sd(self) -> float:
        """Sample standard deviation of the areas; 0 of one seed."""
        return float(self.areas.std(ddof=1)) if len(self.areas) > 1 else 0.0

    @property
    def last(self) -> float:
        """Mean Dice of the seeds after the last round."""
        return float(self.dice[:, -1].mean())


def curves(played: Played) -> dict[str, Curve]:
    """Strategy -> curve, over the rounds that all its seeds have."""
    found = {}
    for strategy in dict.fromkeys(strategy for strategy, _ in played):
        seeds = [rounds for (name, _), rounds in played.items() if name == strategy]
        length = min(map(len, seeds))
        labels = [len(each.labelled) for each in seeds[0][:length]]
        found[strategy] = Curve(labels, np.array([[each.dice for each in rounds[:length]] for rounds in seeds]))
    return found


def write_report(played: Played, folder: Path) -> dict[str, Curve]:
    """``simulation.json``, ``.csv`` and ``.png`` in the folder; returns the curves."""
    found = curves(played)
    table = {
        name: {"labels": curve.labels, "dice": curve.dice.tolist(), "auc": curve.auc, "auc_sd": curve.auc_sd}
        for name, curve in found.items()
    }
    (folder / "simulation.json").write_text(json.dumps(table, indent=1) + "\n")
    with (folder / "simulation.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["strategy", "seed", "round", "labels", "dice", "chosen"])
        for (strategy, seed), rounds in played.items():
            before: set[str] = set()
            for number, each in enumerate(rounds, 1):
                chosen = " ".join(study for study in each.labelled if study not in before)
                rows.writerow([strategy, seed, number, len(each.labelled), f"{each.dice:.4f}", chosen])
                before = set(each.labelled)
    plot(found, folder / "simulation.png")
    return found


def plot(found: Mapping[str, Curve], file: Path) -> None:
    """Mean Dice with bands of one standard deviation over the seeds."""
    from matplotlib.figure import Figure  # takes a second to import
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot(xlabel="labelled studies", ylabel="mean Dice on the judged studies")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for (name, curve), marker in zip(found.items(), cycle(MARKERS), strict=False):
        mean, sd = curve.dice.mean(0), curve.dice.std(0, ddof=1) if len(curve.dice) > 1 else 0 * curve.dice[0]
        (line,) = axes.plot(curve.labels, mean, marker=marker, label=f"{name} ({curve.auc:.3f})")
        axes.fill_between(curve.labels, mean - sd, mean + sd, color=line.get_color(), alpha=0.15)
    axes.legend(title="area under the curve")
    axes.grid(alpha=0.3)
    figure.savefig(file, dpi=120)
