"""The trainings of a project as the page shows them, from their manifests; each is read once."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.page.answers import stamp
from lib.report.content import case_means
from lib.report.write import HTML
from lib.training.model_folder import ModelFolder

log = logging.getLogger(__name__)

SUPERVISED = "supervised"  # looks at labelled studies alone


@dataclass(frozen=True)
class Round:
    """One training.

    Attributes:
        run: name of its folder. status: ``running``, ``done``, ``stopped``, ``failed`` or what else it noted.
        studies: the labelled ones it used, by side; two rounds with equal ones can be compared.
        unlabelled: how many studies it used without a label.
        dice: of its validation; None: there was none. classes, cases: mean Dice of each class, of each study.
        report: whether there is one to read.
    """

    run: str
    method: str
    status: str
    started: str
    reason: str
    version: str | None
    studies: tuple[frozenset[str], frozenset[str]]
    unlabelled: int
    dice: float | None
    classes: Mapping[str, float]
    cases: Mapping[str, float]
    warnings: tuple[str, ...]
    skipped: Mapping[str, str]
    report: bool

    @property
    def labels(self) -> int:
        """Labelled studies, of both sides, because a reader labels without knowing the side."""
        return len(self.studies[0]) + len(self.studies[1])

    def to_dict(self) -> dict[str, Any]:
        """As JSON; of the studies their number."""
        names = ("run", "method", "status", "started", "reason", "version", "labels", "unlabelled", "dice", "report")
        plain = {name: getattr(self, name) for name in names}
        return plain | {"classes": dict(self.classes), "cases": dict(self.cases), "warnings": list(self.warnings)}


class Rounds:
    """The rounds of a model folder. Threads may share it."""

    def __init__(self, folder: ModelFolder) -> None:
        self.folder = folder
        self._known: dict[Path, tuple[str, Round]] = {}
        self._lock = threading.Lock()

    def files(self) -> list[Path]:
        """What the rounds are made from, the first training first."""
        return [file for manifest in self.folder.manifests for file in (manifest, manifest.with_name(HTML))]

    def all(self) -> list[Round]:
        """The first one first; a manifest that cannot be read is left out, and the log says so."""
        found = {}
        with self._lock:
            for file in self.files()[::2]:
                now = stamp([file, file.with_name(HTML)])
                known = self._known.get(file)
                fresh = known if known and known[0] == now else _stamped(file, now)
                if fresh:
                    found[file] = fresh
            self._known = found
        return [each for _, each in found.values()]


def _stamped(file: Path, now: str) -> tuple[str, Round] | None:
    try:
        return now, _round(file, json.loads(file.read_text()))
    except (OSError, ValueError, AttributeError, TypeError, KeyError) as error:
        log.warning("Not on the page: %s cannot be read (%s)", file, error)
        return None


def _round(file: Path, values: Mapping[str, Any]) -> Round:
    sides = values.get("cases", {})
    return Round(
        run=file.parent.name,
        method=str(values.get("method", "")),
        status=str(values.get("status", "")),
        started=str(values.get("environment", {}).get("started", "")),
        reason=str(values.get("reason") or values.get("error") or ""),
        version=values.get("version"),
        studies=(frozenset(sides.get("training", ())), frozenset(sides.get("validation", ()))),
        unlabelled=0 if values.get("method") == SUPERVISED else len(sides.get("unlabelled", ())),
        dice=values.get("dice"),
        classes=_class_means(values.get("dice_by_case") or {}),
        cases=case_means(values),
        warnings=tuple(values.get("warnings", ())),
        skipped=dict(values.get("skipped", {})),
        report=file.with_name(HTML).is_file(),
    )


def _class_means(by_case: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Class -> mean Dice over the studies that have a value of it."""
    names = dict.fromkeys(name for each in by_case.values() for name in each)
    return {name: _mean([each[name] for each in by_case.values() if name in each]) for name in names}


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
