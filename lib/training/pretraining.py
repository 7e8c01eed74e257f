"""The stage before a training, for methods that have one: an encoder learns from all studies without their labels.

Its encoder is kept in the project's folder, so that a training with the same studies and settings takes it from there.

**Which weights win.** A training that goes on from a live model of the same kind has no such stage: that model's
encoder was pre-trained once and has learnt from labels since, and its decoders read the features of this very encoder;
another one under them would throw away what the earlier rounds have learnt. A live model of another method does not
count: its encoder never had the stage that the chosen method is about, so the pre-trained one takes its place.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from torch import Tensor

from lib.config import Config
from lib.inference.model_file import Model, save_whole
from lib.methods.registry import build_pretraining
from lib.studies.cases import Case
from lib.studies.plan import Plan
from lib.training.distribution import first
from lib.training.length import pretraining_length
from lib.training.loop import Loop
from lib.training.prepare import Studies
from lib.training.progress import Listener
from lib.training.run import PRETRAINING, Run, checkpoints, latest_checkpoint

log = logging.getLogger(__name__)

KEPT = 3  # encoders of a project; the least recently used goes first
# settings that change what comes out of the stage; of its length what was asked for, because seconds never repeat
SETTINGS = (
    "method", "network", "size", "iterations", "epochs", "minutes", "pretraining", "batch_unlabelled", "learning_rate",
    "weight_decay", "gradient_clip", "ema", "temperature", "teacher", "correspondence", "precision", "seed",
)  # fmt: skip
Weights = dict[str, Tensor]


class Encoders:
    """The pre-trained encoders of a project, one file a key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: str) -> Weights | None:
        """The encoder of this key, marked as used; None if it is not there or damaged."""
        file = self.folder / f"{key}.pt"
        weights = _read(file)
        if weights:
            os.utime(file)
        return weights

    def newest(self, like: Weights) -> Weights | None:
        """The latest one whose tensors have the names and shapes of these."""
        shapes = {name: value.shape for name, value in like.items()}
        for file in reversed(self._by_use()):
            weights = _read(file)
            if weights and {name: value.shape for name, value in weights.items()} == shapes:
                return weights
        return None

    def save(self, key: str, weights: Weights) -> None:
        """Keep it; a reader finds the whole file or none. The oldest beyond :data:`KEPT` go."""
        save_whole(weights, self.folder / f"{key}.pt")
        for old in self._by_use()[:-KEPT]:
            old.unlink(missing_ok=True)

    def _by_use(self) -> list[Path]:
        return sorted(self.folder.glob("*.pt"), key=lambda path: path.stat().st_mtime_ns)


class Pretraining:
    """One such stage, with its own loop, run and checkpoints.

    Args:
        run_folder: of the training it belongs to. encoders: of the project.
    """

    def __init__(
        self, config: Config, studies: Studies, run_folder: Path, encoders: Path, device: torch.device
    ) -> None:
        self.config, self.device = pretraining_length(config), device
        plan = studies.cache.preprocess.plan
        self.channels, self.patch = plan.channels, plan.network_patch
        self.studies = dataclasses.replace(studies, unlabelled=[*studies.training, *studies.unlabelled])
        self.folder, self.encoders = run_folder / PRETRAINING, Encoders(encoders)
        settings = [str(getattr(config, name)) for name in SETTINGS]
        text = json.dumps([plan.key, plan.patch, settings, fingerprint(self.studies.unlabelled)])
        self.key = hashlib.sha256(text.encode()).hexdigest()[:16]

    @staticmethod
    def wanted(config: Config, plan: Plan, base: Model | None) -> bool:
        """Whether a training with these settings has the stage when it starts from this live model; see above."""

        def has_stage(settings: Config) -> bool:
            return build_pretraining(settings, plan.channels, plan.network_patch) is not None

        return has_stage(config) and not (base and has_stage(base.config))

    def kept(self) -> Weights | None:
        """The encoder of an earlier stage with the same studies and settings; None: it has to be trained."""
        return self.encoders.get(self.key)

    def loop(self, steps: int) -> Loop:
        """Over all studies as unlabelled ones, from the newest encoder of the same shape or from nothing."""
        method = build_pretraining(self.config, self.channels, self.patch)
        assert method is not None, "asked for a stage that the method does not have"
        encoder = method.networks[0]
        newest = self.encoders.newest(encoder.state_dict())
        if newest:
            encoder.load_state_dict(newest)
        patches = self.studies.patches(
            self.config, method.strong_views, steps, idist.get_rank(), idist.get_world_size()
        )
        patches.recipe = dataclasses.replace(patches.recipe, labelled=0)
        return Loop(method, patches, self.config, steps, self.device)

    def record(self, steps: int, run: Run | None = None) -> dict[str, Any]:
        """For the manifest: how the stage is to go or, with its run, how it went; 0 steps if the encoder was there."""
        done = {"iterations": run.engine.state.iteration, "uses": dict(run.loop.uses)} if run else {}
        seconds = round(run.history.seconds, 1) if run else 0.0
        return {"key": self.key, "cached": not steps, "steps": steps, "seconds": seconds, **done}

    def __call__(
        self, steps: int, listener: Listener, should_stop: Callable[[], bool]
    ) -> tuple[Weights | None, dict[str, Any]]:
        """Train for so many steps, or go on from where it was interrupted, and keep the encoder.

        Returns:
            The averaged weights of the encoder, None if it was stopped, and :meth:`record`.
        """
        run = Run(self.loop(steps), self.config, self.folder, None, listener, should_stop, stage="pre-training")
        if latest_checkpoint(self.folder):
            run.resume(checkpoints(self.folder))
            log.info("Resumed the pre-training at iteration %d of %d", run.engine.state.iteration, steps)
        run()
        if run.ended == "stopped":
            return None, self.record(steps, run)
        weights = {name: value.detach().cpu() for name, value in run.loop.smoothed.networks[0].state_dict().items()}
        if first():
            self.encoders.save(self.key, weights)
        return weights, self.record(steps, run)


def _read(file: Path) -> Weights | None:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None
    except Exception as error:  # a damaged pickle fails in as many ways as there are bytes
        log.warning("The pre-trained encoder %s is damaged (%s) and cannot be started from", file.name, error)
        return None


def fingerprint(cases: Sequence[Case]) -> list[tuple[str, list[tuple[int, int]]]]:
    """Ids of the studies with size and time of change of each file; changes with whatever is learnt from."""
    return sorted((case.id, [_state(file) for file in case.files]) for case in cases)


def _state(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
    except OSError:
        return 0, 0  # gone; the patches skip it and say so
    return status.st_size, status.st_mtime_ns
