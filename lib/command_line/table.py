"""An evaluation as a table for the eye."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from lib.inference.evaluation import Evaluation, summary


def evaluation_table(evaluations: Sequence[Evaluation], learnt: Collection[str] = (), unit: str = "mm") -> str:
    """One line a study and one for the means: Dice and HD95 of each class, seconds.

    Args:
        unit: of the distances; pictures have pixels.
        learnt: studies the model was trained on; they are marked.
    """
    if not evaluations:
        return "No study could be evaluated."
    names = list(evaluations[0].dice)
    means = summary(evaluations)
    head = ["study", *(f"Dice {name}" for name in names), *(f"HD95 {name}" for name in names), "seconds"]
    rows = [_row(each.id + "*" * (each.id in learnt), each.dice, each.hd95, each.seconds) for each in evaluations]
    mean = _row(f"mean of {len(rows)}", means["dice"]["classes"], means["hd95"]["classes"], means["seconds"])
    lines = _align([head, *rows, mean])
    lines.insert(1, "-" * len(lines[0]))
    lines.insert(-1, "-" * len(lines[0]))
    distance = "none" if means["hd95"]["mean"] is None else f"{means['hd95']['mean']:.2f} {unit}"
    lines.append(f"Over all classes: Dice {means['dice']['mean']:.3f}, HD95 {distance}.")
    if means["missed"]:
        lines.append(f"missed: {means['missed']} times only one of label and prediction has the class; no HD95 then.")
    if learnt:
        lines.append("* The model was trained on this study: its numbers say nothing about new ones.")
    return "\n".join(lines)


def _row(name: str, dice: Mapping[str, float], hd95: Mapping[str, float | None], seconds: float) -> list[str]:
    distances = ["missed" if value is None or math.isnan(value) else f"{value:.2f}" for value in hd95.values()]
    return [name, *(f"{value:.3f}" for value in dice.values()), *distances, f"{seconds:.1f}"]


def _align(rows: Sequence[Sequence[str]]) -> list[str]:
    first, *others = ([len(cell) for cell in column] for column in zip(*rows, strict=True))
    widths = [-max(first), *map(max, others)]  # a negative width is left-aligned
    return ["  ".join(f"%{width}s" % cell for cell, width in zip(row, widths, strict=True)) for row in rows]
