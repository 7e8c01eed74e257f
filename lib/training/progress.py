"""What a training tells while it runs, and the two ways of telling it: a bar, or a line now and then."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tqdm import tqdm

from lib.config import EPOCH

log = logging.getLogger(__name__)


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


class Bar:
    """A tqdm bar on a terminal; elsewhere a plain line every ``every`` seconds."""

    def __init__(self, title: str = "train", every: float = 10.0) -> None:
        self.title, self.every = title, every
        self.bar: tqdm | None = None
        self.last = -every

    def __call__(self, now: Progress) -> None:
        """Show this moment."""
        if sys.stderr.isatty():
            self._draw(now)
        elif time.monotonic() - self.last >= self.every or now.stage == "ended":
            self.last = time.monotonic()
            print(f"{self.title}: {now.stage} {now.step}/{now.total}  {_key_values(now)}", file=sys.stderr, flush=True)

    def _draw(self, now: Progress) -> None:
        if self.bar is None and now.total:
            self.bar = tqdm(total=now.total, initial=now.step, desc=self.title, unit="it", dynamic_ncols=True)
        if self.bar is not None:
            self.bar.update(now.step - self.bar.n)
            self.bar.set_postfix_str(_key_values(now), refresh=not now.stage.endswith("training"))
            if now.stage == "ended":
                self.bar.close()


def _key_values(now: Progress) -> str:
    losses = "  ".join(f"{name} {value:.3f}" for name, value in now.losses.items())
    return losses + (f"  Dice {now.metric:.3f}" if now.metric is not None else "")
