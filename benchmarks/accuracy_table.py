"""The tables and figures of ``benchmarks/accuracy.py``, from the results that lie in its folder."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.protocols import CEILING, PROTOCOLS, UNLABELLED
from benchmarks.records import Result

BASELINE = "supervised"
COLUMNS = {  # figure -> (heading, format)
    "dice": ("Dice", ".4f"),
    "dice_sd": ("sd", ".4f"),
    "gain": ("gain", "+.4f"),
    "gap_closed": ("gap closed", ".0%"),
    "dice_one_network": ("one network", ".4f"),
    "hd95": ("HD95", ".1f"),
    "seconds": ("seconds", ".0f"),
    "processor_seconds": ("of processor", ".0f"),
    "peak_memory_mb": ("memory MB", ".0f"),
}


def found_results(folder: Path) -> list[Result]:
    """Everything that was measured on this machine."""
    return [json.loads(file.read_text()) for file in sorted(folder.glob("*/*/*/*/result.json"))]


@dataclass(frozen=True)
class Row:
    """The runs of one method that differ in their seed, as they were judged on one series (or the only one, ``""``)."""

    method: str
    changes: str
    series: str
    runs: Sequence[Result]

    @property
    def name(self) -> str:
        """Part of the keys: the method with its changed settings, and the series."""
        return f"{self.method}{self.changes}" + (f"/{self.series}" if self.series else "")

    def by_seed(self) -> dict[int, float]:
        """Seed -> Dice."""
        return {run["job"]["seed"]: run["judged"][self.series]["dice"] for run in self.runs}

    def values(self) -> dict[str, float]:
        """Means over the seeds, and the sample standard deviation of Dice if there are two."""
        scores = [run["judged"][self.series] for run in self.runs]
        found = {key: [each[key] for each in scores] for key in ("dice", "dice_one_network", "hd95")}
        found |= {key: [run[key] for run in self.runs] for key in ("seconds", "processor_seconds", "peak_memory_mb")}
        means = {key: statistics.mean(each) for key, each in found.items() if None not in each}  # None: all was missed
        spread = {"dice_sd": statistics.stdev(found["dice"])} if len(self.runs) > 1 else {}
        return means | spread


class Table:
    """One set with so many labelled.

    Args:
        results: of the set and of one training length; those with another number of labels are left out.
    """

    def __init__(self, results: Sequence[Result], name: str, labelled: int, seeds: int) -> None:
        self.name, self.labelled, self.seeds, self.protocol = name, labelled, seeds, PROTOCOLS[name]
        own = [each for each in results if each["job"]["method"] == CEILING or each["job"]["labelled"] == labelled]
        self.results = own
        self.rows = _rows(own, self.protocol.methods_for(labelled))
        self.row_values = [row.values() for row in self.rows]
        self.baseline, self.ceiling = (
            {row.series: row.by_seed() for row in self.rows if (row.method, row.changes) == (method, "")}
            for method in (BASELINE, CEILING)
        )
        for row, values in zip(self.rows, self.row_values, strict=True):
            values |= self._against_baseline(row)

    @property
    def stronger(self) -> str:
        """The modality whose own supervised network is the best."""
        return max(self.baseline, key=lambda series: statistics.mean(self.baseline[series].values()), default="")

    def _against_baseline(self, row: Row) -> dict[str, float]:
        """``gain`` over supervised training and ``gap_closed``, each over the seeds that all who are compared have."""
        own, start, goal = row.by_seed(), self.baseline.get(row.series, {}), self._goal(row.series)
        found: dict[str, float] = {}
        if row.method != BASELINE and (seeds := own.keys() & start.keys()):
            found["gain"] = statistics.mean(own[seed] - start[seed] for seed in seeds)
        if row.method not in (BASELINE, CEILING) and (seeds := own.keys() & start.keys() & goal.keys()):
            gap = statistics.mean(goal[seed] - start[seed] for seed in seeds)
            if gap > 0:
                found["gap_closed"] = statistics.mean(own[seed] - start[seed] for seed in seeds) / gap
        return found

    def figures(self) -> dict[str, float]:
        """``set/labelled/method[/modality]/figure`` -> number."""
        start = f"{self.name}/{self.labelled}"
        pairs = zip(self.rows, self.row_values, strict=True)
        return {f"{start}/{row.name}/{key}": value for row, values in pairs for key, value in values.items()}

    def text(self, markdown: bool) -> str:
        """The table with its heading and what is to be said about it."""
        lines = [["method", "seeds", *(heading for heading, _ in COLUMNS.values())]]
        for row, values in zip(self.rows, self.row_values, strict=True):
            cells = [format(values[key], form) if key in values else "" for key, (_, form) in COLUMNS.items()]
            count = str(len(row.runs)) if len(row.runs) == self.seeds else f"{len(row.runs)} of {self.seeds}"
            lines.append([f"`{row.name}`" if markdown else row.name, count, *cells])
        body = _markdown(lines) if markdown else _aligned(lines)
        return "\n".join([self._heading(), "", *body, *self._notes()])

    def _heading(self) -> str:
        first, protocol = self.results[0], self.protocol
        judged = first["job"]["judged"]
        on = "judged on the unlabelled" if judged == UNLABELLED else f"{getattr(protocol, judged)} judged ({judged})"
        devices = " and ".join(sorted({each["device"] for each in self.results}))
        days = sorted({each["day"] for each in self.results})
        return (
            f"{self.name}, {self.labelled} labelled {protocol.counted}, {on}, "
            f"{first['job']['iterations']:,} iterations, {devices}, {' to '.join(dict.fromkeys((days[0], days[-1])))}, "
            f"HD95 in {protocol.unit}"
        )

    def _notes(self) -> list[str]:
        if len(self.baseline) < 2:
            return []
        pairs = zip(self.rows, self.row_values, strict=True)
        found = [(row, values) for row, values in pairs if "gap_closed" in values]
        means = {series: statistics.mean(dice.values()) for series, dice in self.baseline.items()}
        return [
            "",
            f"The stronger modality, by its own supervised network: {self.stronger} ({means[self.stronger]:.4f}).",
            *(
                f"{row.method}{row.changes} closes {values['gap_closed']:.0%} of what {row.series} alone "
                f"({means[row.series]:.4f}) lacks to it."
                for row, values in found
            ),
        ]

    def _goal(self, series: str) -> dict[int, float]:
        """Seed -> Dice that gaps are measured to: all labels or, of several modalities, the stronger one's network."""
        return self.baseline[self.stronger] if len(self.baseline) > 1 else self.ceiling.get(series, {})


def _rows(results: Sequence[Result], order: Sequence[str]) -> list[Row]:
    """In the order of the protocol's methods, changed settings after their method."""
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for each in results:
        job = each["job"]
        changes = "".join(f",{key}={value}" for key, value in sorted(job["conf"].items()))
        for series in [job["series"]] if job["series"] else each["judged"]:
            groups.setdefault((job["method"], changes, series), []).append(each)
    rows = [Row(*key, runs) for key, runs in groups.items()]
    known = list(order)
    return sorted(rows, key=lambda row: known.index(row.method) if row.method in known else len(known))


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    first, *widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join([name.ljust(first), *(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))])
        for name, *cells in lines
    ]


def _markdown(lines: Sequence[Sequence[str]]) -> list[str]:
    rows = [f"| {' | '.join(line)} |" for line in lines]
    return [rows[0], "|---" * len(lines[0]) + "|", *rows[1:]]
