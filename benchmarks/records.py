"""Results that stay: one line of JSON a run in ``benchmarks/records/``, so that a table can grow day by day.

A table of three seeds of ten methods takes longer than a machine is at hand. What a run measured is kept in the
repository with the settings, versions and day it was measured with; models and predictions are not. Whoever changes a
protocol deletes its records.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Result = dict[str, Any]
FOLDER = Path(__file__).resolve().parent / "records"


def read(name: str, folder: Path = FOLDER) -> list[Result]:
    """All records of a benchmark, in their order; none if it has none."""
    file = folder / f"{name}.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def keep(name: str, results: Iterable[Result], key: Callable[[Result], str], folder: Path = FOLDER) -> int:
    """Add results, which take the place of records with the same key; in the order of the keys.

    Returns:
        How many records there are now.
    """
    records = {key(each): each for each in [*read(name, folder), *results]}
    if not records:
        return 0
    folder.mkdir(exist_ok=True)
    lines = [json.dumps(records[each], sort_keys=True) + "\n" for each in sorted(records)]
    (folder / f"{name}.jsonl").write_text("".join(lines))
    return len(records)
