"""Whether a trained model goes live: if it is at least as good as the live one on the same validation studies."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from lib.config import Config
from lib.errors import SemisegError
from lib.inference.model_file import Model
from lib.studies.cache import VolumeCache
from lib.studies.preprocess import Preprocess
from lib.training.distribution import first
from lib.training.model_folder import ModelFolder
from lib.training.prepare import Studies
from lib.training.validation import mean_dice, validate

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Verdict:
    """version: published under, None if the live model stays; live: its Dice on the same studies; reason in words."""

    version: str | None
    live: float | None
    reason: str


def publish(model: Model, folder: ModelFolder, studies: Studies, config: Config) -> Verdict:
    """Judge and, if it is no worse than what is live or the settings want it, publish; under torchrun the first process
    does it."""
    mine = model.metrics["dice"]
    live = _live_dice(folder, studies, config)
    count = len(studies.validation)
    if mine is not None and live is not None and mine < live and config.publish == "better":
        reason = f"The live model stays: Dice {live:.3f} on the same {count} validation studies, the new one {mine:.3f}"
        return Verdict(None, live, reason)
    version = folder.publish(model, config.keep_versions) if first() else None
    if mine is None:
        reason = "Too few labels for a validation set: the averaged weights of the end are published, unjudged"
    else:
        reason = f"Dice {mine:.3f} on {count} validation studies"
        reason += f" (the former live model: {live:.3f})" if live is not None else ""
    return Verdict(version, live, f"{reason}; published as version {version}")


def _live_dice(folder: ModelFolder, studies: Studies, config: Config) -> float | None:
    """The live model on today's validation studies; None if it is not there or cannot be compared."""
    if not (folder.live and studies.validation and first()):
        return None
    try:
        live = Model.load(folder.live)
        method = live.build()
    except SemisegError as error:
        log.warning("The live model cannot be compared with: %s", error)
        return None
    if live.labels.names != studies.cache.labels.names:
        log.warning("The live model has other classes and cannot be compared with")
        return None
    cache = VolumeCache(folder.cache, Preprocess(live.plan), live.labels, studies.cache.budget)
    found = validate(method, studies.validation, cache, config)
    return mean_dice(found) if found else None
