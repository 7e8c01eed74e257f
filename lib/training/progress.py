"""What a training tells while it runs, and the two ways of telling it: a bar, or a plain line now and then."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tqdm import tqdm

from lib.config import EPOCH

log = logging.getLogger(__name__)

EVERY = 30.0  # s between plain lines
SHOWN = 4  # losses of a line: the sum and the first terms, which are the same in every method


@dataclass(frozen=True)
class Progress:
    """A moment of a training.

    Attributes:
        stage: ``preparing``, ``pre-training``, ``training``, ``validating``, ``publishing`` or ``ended``.
        step, total: iterations done and in all. losses: term -> value.
        metric: Dice of the latest validation, best: of the best one (None before the first).
        seconds: since the start of this process's part of the training.
        warnings: what the user should know or change, said so far.
    """

    stage: str
    step: int = 0
    total: int = 0
    losses: dict[str, float] = field(default_factory=dict)
    metric: float | None = None
    best: float | None = None
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()

    @property
    def epoch(self) -> int:
        """Epochs of 50 iterations begun so far."""
        return -(-self.step // EPOCH)

    @property
    def total_epochs(self) -> int:
        """Epochs in all."""
        return -(-self.total // EPOCH)


Listener = Callable[[Progress], None]


class PlainLines:
    """When a plain line is due, and how fast it goes: one line for each stage, then one every ``every`` seconds.

    Args:
        unit: of what is counted, as in ``2.1 it/s``.
    """

    def __init__(self, unit: str, every: float = EVERY, clock: Callable[[], float] = time.monotonic) -> None:
        self.unit, self.every, self.clock = unit, every, clock
        self.stage: str | None = None
        self.done, self.at = 0, 0.0  # what was done, and when, as the latest line said it

    def line(self, stage: str, done: int, total: int) -> str | None:
        """``training 120/1500  2.1 it/s  10:57 left``, or None while none is due."""
        now, begins, earlier = self.clock(), stage != self.stage, self.done
        passed = now - self.at
        if not begins and passed < self.every:
            return None
        self.stage, self.done, self.at = stage, done, now
        if not total:
            return stage
        said = f"{stage} {done}/{total}"
        if begins or done <= earlier:
            return said
        speed = (done - earlier) / passed
        return f"{said}  {speed:.2g} {self.unit}/s  {tqdm.format_interval((total - done) / speed)} left"


class Bar:
    """A tqdm bar on a terminal; elsewhere the plain lines of :class:`PlainLines`. Both have the losses and the Dice."""

    def __init__(self, title: str = "train", lines: PlainLines | None = None) -> None:
        self.title = title
        self.lines = lines or PlainLines("it")
        self.bar: tqdm | None = None

    def __call__(self, now: Progress) -> None:
        """Show this moment."""
        if sys.stderr.isatty():
            self._draw(now)
        elif said := self.lines.line(now.stage, now.step, now.total):
            print("  ".join(filter(None, (f"{self.title}: {said}", _key_values(now)))), file=sys.stderr, flush=True)

    def _draw(self, now: Progress) -> None:
        if self.bar is None and now.total:
            self.bar = tqdm(total=now.total, initial=now.step, unit="it", dynamic_ncols=True)
        if self.bar is not None:
            self.bar.set_description(f"{self.title}: {now.stage}", refresh=False)
            self.bar.update(now.step - self.bar.n)
            self.bar.set_postfix_str(_key_values(now), refresh=not now.stage.endswith("training"))
            if now.stage == "ended":
                self.bar.close()


def _key_values(now: Progress) -> str:
    """The sum of the losses, its first terms, and the latest Dice; ``skipped/...`` counts and is no loss."""
    terms = {name: value for name, value in now.losses.items() if "/" not in name}
    shown = dict.fromkeys([*(["loss"] if "loss" in terms else []), *terms])
    said = [f"{name} {terms[name]:.3f}" for name in list(shown)[:SHOWN]]
    return "  ".join([*said, *([f"Dice {now.metric:.3f}"] if now.metric is not None else [])])
