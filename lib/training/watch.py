"""Warns when a training collapses: once for each way it can, with what to change."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

from lib.training.prepare import Studies

log = logging.getLogger(__name__)

SMOOTHING = 50  # steps; a single batch may well lack the structure
PATIENCE = 50  # steps for which a sign must hold, so that a training of a few iterations is not judged
LONG = 200  # the same for branches that agree, which is what they are to do, only not for ever
TOO_FEW = 1 / 3  # pseudo-label foreground as a share of the labelled one
ONE_NETWORK, NO_GAIN = 0.995, 0.001  # Dice between the branches; Dice that their mean gains over each
MOSTLY = 0.5  # share of steps

FORGOTTEN = (
    "Pseudo-labels call {share:.2%} of the unlabelled voxels foreground, less than a third of the {prior:.2%} in the "
    "labelled studies: the structure is being unlearnt. Lower consistency, raise confidence, lengthen ramp, or use "
    "method mean_teacher"
)
MERGED = (
    "The branches have become one network (they agree to {agreement:.3f}, together they gain {gain:.4f} Dice) and "
    "teach each other nothing any more. Lower consistency, lengthen ramp, or use method ideal, whose branches differ"
)
SKIPPED = (
    "The term {term} had nothing to learn from in {share:.0%} of the iterations. Lower confidence if it takes "
    "pseudo-labels; else the structures are missing from the patches: raise foreground or patch, or use another method"
)


class Watch:
    """Takes the values of each step, smooths them and looks for signs of a collapse.

    Args:
        start: the step from which it warns, the end of the ramp: before it the branches are still to learn.
        prior: share of foreground voxels in the labelled studies; None: pseudo-labels are not compared with it.
        warn: told each sentence, once.
    """

    def __init__(self, start: int = 0, prior: float | None = None, warn: Callable[[str], None] = log.warning) -> None:
        self.start, self.prior, self.warn = start, prior, warn
        self.smoothed: dict[str, float] = {}
        self.seen: dict[str, int] = {}  # the step of each value's latest appearance
        self.since: dict[str, int] = {}  # the step from which on a sign has held
        self.warned: list[str] = []

    def __call__(self, values: Mapping[str, float], step: int) -> None:
        """Take in what :meth:`lib.training.loop.Loop.step` returned."""
        for name, value in values.items():
            if name.startswith("monitor/"):
                self._smooth(name.removeprefix("monitor/"), value, step)
            elif name not in ("loss", "learning_rate") and "/" not in name:
                self._smooth(f"skipped/{name}", values.get(f"skipped/{name}", 0.0), step)
        if step <= self.start:
            return
        for sign, (holds, patience, sentence) in self._signs().items():
            if not holds:
                self.since.pop(sign, None)
            elif step - self.since.setdefault(sign, step) >= patience and sign not in self.warned:
                self.warned.append(sign)
                self.warn(sentence)

    def summary(self) -> str:
        """The smoothed monitors, for the log."""
        shown = {name: value for name, value in self.smoothed.items() if "/" not in name}
        return ", ".join(f"{name} {value:.3f}" for name, value in shown.items())

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint: all that later warnings depend on."""
        return {name: getattr(self, name) for name in ("smoothed", "seen", "since", "warned")}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        self.smoothed, self.seen, self.since = (dict(state[name]) for name in ("smoothed", "seen", "since"))
        self.warned = list(state["warned"])

    def _smooth(self, name: str, value: float, step: int) -> None:
        """Exponentially; what is seen every 10th step only moves by as much in the end."""
        if not math.isfinite(value):
            return
        old = self.smoothed.get(name, value)
        share = 1 - math.exp((self.seen.get(name, step) - step) / SMOOTHING)
        self.smoothed[name], self.seen[name] = old + share * (value - old), step

    def _signs(self) -> dict[str, tuple[bool, int, str]]:
        """Sign -> does it hold now, for how many steps it has to, the sentence."""
        found = {}
        now = self.smoothed
        if self.prior is not None and "pseudo_foreground" in now:
            share = now["pseudo_foreground"]
            sentence = FORGOTTEN.format(share=share, prior=self.prior)
            found["forgotten"] = (share < TOO_FEW * self.prior, PATIENCE, sentence)
        if {"agreement", "ensemble_gain"} <= now.keys():
            agreement, gain = now["agreement"], now["ensemble_gain"]
            sentence = MERGED.format(agreement=agreement, gain=gain)
            found["merged"] = (agreement > ONE_NETWORK and abs(gain) < NO_GAIN, LONG, sentence)
        for name in (name for name in now if name.startswith("skipped/")):
            sentence = SKIPPED.format(term=name.removeprefix("skipped/"), share=now[name])
            found[name] = (now[name] > MOSTLY, PATIENCE, sentence)
        return found


def labelled_prior(studies: Studies) -> float:
    """Share of foreground voxels in whole labelled training volumes; their patches hold more, being drawn around it."""
    voxels = sum(studies.cache.get(case).image[0].size for case in studies.training)
    return sum(sum(studies.voxels[case.id].values()) for case in studies.training) / voxels
