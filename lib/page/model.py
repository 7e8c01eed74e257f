"""How good the model is: over the rounds, against learning from labels alone, and by its pseudo-labels."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any

from lib.page.rounds import SUPERVISED, Round
from lib.report.write import JSON
from lib.training.model_folder import ModelFolder

log = logging.getLogger(__name__)

SHOWN = 30  # rounds
POINTS = 60  # of a monitor's curve; the report has them all


def model_content(folder: ModelFolder, live: str | None, rounds: Sequence[Round]) -> dict[str, Any]:
    """All of the block.

    Args:
        live: version that is served; None: none is. rounds: the first one first.
    """
    published = {each.version: each for each in rounds if each.version}
    versions = [_version(version, version == live, published.get(version)) for version in folder.versions()]
    return {
        "live": live,
        "rounds": [each.to_dict() for each in rounds[-SHOWN:]],
        "versions": versions[::-1],
        "comparisons": comparisons(rounds),
        "monitors": _monitors(folder, rounds),
    }


def comparisons(rounds: Sequence[Round]) -> list[dict[str, Any]]:
    """What the unlabelled studies have brought: pairs of rounds that learnt from the same labels and were judged on
    the same studies, one of them by labels alone. Of several rounds of a method the latest counts."""
    latest = {(each.studies, each.method): each for each in rounds if each.dice is not None}
    found = []
    for (studies, method), each in latest.items():
        alone = latest.get((studies, SUPERVISED))
        if method == SUPERVISED or alone is None or alone.dice is None or each.dice is None:
            continue
        found.append(
            {
                "method": method,
                "labels": each.labels,
                "validation": len(studies[1]),
                "unlabelled": each.unlabelled,
                "supervised": alone.dice,
                "semi_supervised": each.dice,
                "gain": each.dice - alone.dice,
            }
        )
    return found


def _version(version: str, live: bool, by: Round | None) -> dict[str, Any]:
    known = (
        {"method": by.method, "dice": by.dice, "labels": by.labels, "started": by.started, "run": by.run} if by else {}
    )
    return {"version": version, "live": live, **known}


def _monitors(folder: ModelFolder, rounds: Sequence[Round]) -> dict[str, Any]:
    """Of the latest training with pseudo-labels that has a report: name -> first, lowest, highest and last value, and
    its curve."""
    latest = next((each for each in reversed(rounds) if each.report and each.method != SUPERVISED), None)
    if latest is None:
        return {}
    try:
        report = json.loads((folder.runs / latest.run / JSON).read_text())
        seen = {name: {**values, "curve": _thin(report["curves"][f"monitor/{name}"])} for name, values in
                report["monitors"].items()}  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("No monitors on the page: the report of %s cannot be read (%s)", latest.run, error)
        return {}
    return {"run": latest.run, "method": latest.method, "values": seen}


def _thin(curve: list[list[float]]) -> list[list[float]]:
    """Evenly spaced points, and the last one."""
    step = -(-len(curve) // POINTS) or 1
    return [*curve[:-1:step], *curve[-1:]]
