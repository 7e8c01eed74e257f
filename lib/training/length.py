"""How many iterations a training has: given, counted in epochs, or as many as fit the minutes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import torch

from lib.config import EPOCH, Config
from lib.training.distribution import agreed
from lib.training.loop import Loop

log = logging.getLogger(__name__)

WARM_UP, TIMED = 6, 10  # trial iterations: the first ones load libraries and live on a queue that is full
FEWEST = 30  # iterations; below it nothing is learnt, whatever the clock says


def training_length(
    config: Config, start: float, trial: Callable[[int], Loop], validation: Callable[[Loop], object] | None
) -> int:
    """The number of iterations for these settings.

    By the clock, a trial loop on a copy of the method is timed, and one validation with it; the time left of the
    minutes, counted from ``start``, less all validations, is divided by what an iteration took.

    Args:
        start: ``time.monotonic()`` at which the training began.
        trial: makes a loop of so many steps that shares nothing with the real one.
        validation: validates such a loop once; None where there is nothing to validate on.
    """
    if config.iterations or config.epochs:
        return config.iterations or config.epochs * EPOCH
    loop = trial(2 * EPOCH)  # longer than is timed, so that its helpers stay as busy as in the real one
    engine = loop.engine()
    for number in range(1, WARM_UP + 1 + TIMED):
        if number == WARM_UP + 1:
            _wait(loop)
            began = time.monotonic()
        engine.state.iteration = number
        loop.step(engine)
    _wait(loop)
    each = (time.monotonic() - began) / TIMED
    loop.close()
    began = time.monotonic()
    if validation:
        validation(loop)
    validating = (time.monotonic() - began) * config.validations
    left = config.minutes * 60 - (time.monotonic() - start) - validating
    steps = int(agreed(max(FEWEST, left / each)))
    log.info(
        "An iteration takes %.3f s, the validations %.0f s: %d iterations in %.1f minutes",
        each,
        validating,
        steps,
        config.minutes,
    )
    return steps


def _wait(loop: Loop) -> None:
    if loop.device.type == "cuda":
        torch.cuda.synchronize(loop.device)
