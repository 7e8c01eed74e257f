"""What a report says, as plain values: from the manifest of the run, its curves and its pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lib.config import Config
from lib.report.curves import Curve
from lib.report.pictures import Picture

FORMAT = 1
TAKEN_OVER = (  # from the manifest as they are, where it has them: a training that failed lacks the later ones
    "status", "reason", "error", "version", "started_from", "resumed", "method", "dice", "live_dice", "validation",
    "iterations", "steps", "batch", "plan", "labels", "cases", "skipped", "uses", "pretraining", "environment",
    "seconds",
)  # fmt: skip


def report_content(
    run: Path, manifest: Mapping[str, Any], curves: Mapping[str, Curve], pictures: Sequence[Picture]
) -> dict[str, Any]:
    """All of the report; JSON holds it as it is, the page shows it."""
    means = case_means(manifest)
    table = [{"study": study, "mean": means[study], "dice": manifest["dice_by_case"][study]} for study in means]
    return {
        "format": FORMAT,
        "run": run.name,
        **{key: manifest.get(key) for key in TAKEN_OVER},
        "warnings": manifest.get("warnings", []),
        "settings": settings(manifest.get("config", {})),
        "dice_by_case": table,
        "monitors": _monitors(curves),
        "curves": dict(curves),
        "pictures": [dataclasses.asdict(each) for each in pictures],
    }


def case_means(manifest: Mapping[str, Any]) -> dict[str, float]:
    """Study -> mean Dice over its classes at the validation that counted, the lowest first."""
    found = {study: sum(each.values()) / len(each) for study, each in manifest.get("dice_by_case", {}).items()}
    return dict(sorted(found.items(), key=lambda item: (item[1], item[0])))


def settings(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The settings of the run, those that differ from the defaults first; each with its unit and its meaning."""
    plain = Config().to_dict()
    fields = {field.name: field for field in dataclasses.fields(Config)}
    found = [
        {
            "name": name,
            "value": value,
            "default": plain[name],
            "changed": value != plain[name],
            "unit": fields[name].metadata["unit"],
            "text": fields[name].metadata["text"],
        }
        for name, value in given.items()
        if name in fields
    ]
    return sorted(found, key=lambda each: not each["changed"])


def _monitors(curves: Mapping[str, Curve]) -> dict[str, dict[str, float]]:
    """Of what was seen of the pseudo-labels: first, lowest, highest and last value."""
    found = {}
    for name, curve in curves.items():
        values = [value for _, value in curve if value is not None]
        if name.startswith("monitor/") and values:
            low, high = min(values), max(values)
            found[name.removeprefix("monitor/")] = {"first": values[0], "low": low, "high": high, "last": values[-1]}
    return found
