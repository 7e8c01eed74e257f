"""Results that stay: one line of JSON a run in ``benchmarks/records/``, so that a table can grow day by day.

A table of three seeds of ten methods takes longer than a machine is at hand. What a run measured is kept in the
repository with what was run, versions and day; models and predictions are not. Whoever changes another setting of a
protocol than its length, a method or a strategy deletes the records that rest on it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Result = dict[str, Any]
FOLDER = Path(__file__).resolve().parent / "records"


def read(name: str) -> list[Result]:
    """All records of a benchmark, in their order; none if it has none."""
    file = FOLDER / f"{name}.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def keep(name: str, results: Iterable[Result], key: Callable[[Result], str]) -> int:
    """Add results, which take the place of records with the same key; in the order of the keys.

    Returns:
        How many records there are now.
    """
    records = {key(each): each for each in [*read(name), *results]}
    if not records:
        return 0
    FOLDER.mkdir(exist_ok=True)
    lines = [json.dumps(records[each], sort_keys=True) + "\n" for each in sorted(records)]
    (FOLDER / f"{name}.jsonl").write_text("".join(lines))
    return len(records)
