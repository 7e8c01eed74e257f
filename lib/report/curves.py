"""The curves of a run, read back from what tracking has written while it trained."""

from __future__ import annotations

import math
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

POINTS = 2000  # of each curve; of a longer one TensorBoard keeps an even sample with its last point

Curve = list[tuple[int, float | None]]


def read_curves(run: Path) -> dict[str, Curve]:
    """Name, as ``training/loss`` -> its points (iteration, value), in the order of the iterations.

    A value that is no finite number is None, so that JSON can hold it and a line shows a gap. Where a resumed training
    went over the same iterations again, the later value counts. Without events there are no curves.
    """
    folder = run / "events"
    if not folder.is_dir():
        return {}
    events = EventAccumulator(str(folder), size_guidance={SCALARS: POINTS}).Reload()
    return {name: _points(events, name) for name in sorted(events.Tags()[SCALARS])}


def _points(events: EventAccumulator, name: str) -> Curve:
    found = sorted(events.Scalars(name), key=lambda event: (event.step, event.wall_time))
    latest = {event.step: float(event.value) for event in found}
    return [(step, value if math.isfinite(value) else None) for step, value in latest.items()]
