"""What labels have brought so far, and what the next ones are expected to bring."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from lib.selection.outlook import MORE, outlook

AHEAD = (5, MORE, 20, 50)  # labels from today on


def budget_content(
    curve: Sequence[tuple[int, float]], scores: Mapping[str, float], labelled: Collection[str]
) -> dict[str, Any]:
    """All of the block.

    Args:
        curve: see :func:`lib.training.rounds.learning_curve`. scores: study -> score by the live model.
        labelled: ids of the studies that have a label.
    """
    most = max((labels for labels, _ in curve), default=0)
    level = [dice for labels, dice in curve if labels == most]
    found = [outlook(curve, more) for more in AHEAD]
    expected = [
        {"labels": most + each.more, "more": each.more, "gain": each.gain, "low": each.low, "high": each.high}
        for each in found
        if each.gain is not None
    ]
    return {
        "curve": [{"labels": labels, "dice": dice} for labels, dice in curve],
        "labels": most,
        "dice": sum(level) / len(level) if level else None,
        "labelled_now": len(labelled),
        "expected": expected,
        "outlook": asdict(outlook(curve, MORE, scores, labelled)),
    }
