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
SHORTEST = 0.05  # minutes, as in the settings
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


def pretraining_length(config: Config) -> Config:
    """The settings with the length of the stage before the training: its share of the iterations, or of the clock."""
    if config.iterations or config.epochs:
        steps = config.iterations or config.epochs * EPOCH
        return config.replace(iterations=max(1, round(config.pretraining * steps)))
    return _shortened(config, config.pretraining / (1 + config.pretraining))


def remaining_length(config: Config) -> Config:
    """The settings of a training that such a stage came before: by the clock, both together have the minutes."""
    return config if config.iterations or config.epochs else _shortened(config, 1 / (1 + config.pretraining))


def _shortened(config: Config, share: float) -> Config:
    return config.replace(minutes=max(SHORTEST, share * config.minutes))


def _wait(loop: Loop) -> None:
    if loop.device.type == "cuda":
        torch.cuda.synchronize(loop.device)
