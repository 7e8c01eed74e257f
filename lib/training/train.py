"""A training from the cases of a project to a published model."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import ignite.distributed as idist
from torch import nn

from lib.config import Config
from lib.device import limit_threads
from lib.inference.model_file import Model
from lib.studies.cases import Case
from lib.studies.labels import LabelMap
from lib.training.distribution import first, own_device, process_group
from lib.training.length import training_length
from lib.training.loop import Loop
from lib.training.manifest import Manifest, environment
from lib.training.model_folder import ModelFolder
from lib.training.prepare import Studies, prepare
from lib.training.progress import Listener, Progress
from lib.training.publish import publish
from lib.training.run import History, Run, latest_checkpoint
from lib.training.start import initial_method, interrupted_run, live_model, new_run, signature
from lib.training.validation import CaseDice, validate

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """How a training ended.

    Attributes:
        version: it was published under; None if the live model stays. metric: mean validation Dice, None without
            validation studies. reason: in words. manifest: the file with everything else.
    """

    version: str | None
    metric: float | None
    reason: str
    manifest: Path


def train(
    cases: Sequence[Case],
    labels: LabelMap,
    config: Config,
    folder: ModelFolder,
    progress: Listener | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Result:
    """Train on the labelled cases and on all the unlabelled ones, and publish the model if it is no worse.

    An interrupted training with the same settings and labels is resumed from its last checkpoint. Otherwise it
    starts from the live model if ``config.pretrained`` and that fits, else from nothing.

    Args:
        progress: told at every step. should_stop: asked at every step; true ends the training gracefully: what it
            has is saved, validated and published if better.

    Raises:
        NotReadyError: nothing to train on, or another training of this project is under way.
        SemisegError: the training cannot go on.
    """
    with process_group(config.device), folder.lock("training", wanted=first()):
        limit_threads(config)
        job = _Job(cases, labels, config, folder, progress or (lambda _: None), should_stop or (lambda: False))
        try:
            return job.run()
        except BaseException as error:
            status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            job.note(status=status, error=str(error) or type(error).__name__)
            raise


class _Job:
    """The steps of a training in their order, and what they share."""

    def __init__(
        self,
        cases: Sequence[Case],
        labels: LabelMap,
        config: Config,
        folder: ModelFolder,
        tell: Listener,
        should_stop: Callable[[], bool],
    ) -> None:
        self.start = time.monotonic()
        self.cases, self.labels, self.folder, self.tell, self.should_stop = cases, labels, folder, tell, should_stop
        self.device = own_device(config.device)
        on_gpu = self.device.type == "cuda"
        self.config = config.replace(size="medium" if on_gpu else "small") if config.size == "auto" else config
        self.signature = signature(self.config, labels, cases)
        self.run_folder = interrupted_run(folder.runs, self.signature) or new_run(folder.runs, config.method)
        self.manifest = Manifest(self.run_folder)

    def run(self) -> Result:
        self.tell(Progress("preparing"))
        base = live_model(self.folder, self.config, self.labels)
        plan = base.plan if base else None
        studies = prepare(
            self.cases, self.labels, self.config, self.folder, plan, self.device.type,
            lambda: self.tell(Progress("preparing")),
        )  # fmt: skip
        checkpoint = latest_checkpoint(self.run_folder)
        if checkpoint:
            steps = int(self.manifest.values["steps"])
            self.note(status="running", resumed=self.manifest.values.get("resumed", 0) + 1)
        else:
            self._describe(studies, base)
            steps = self._length(studies, base)
            self.note(steps=steps)
        loop = self._loop(studies, base, steps)
        run = Run(loop, self.config, self.run_folder, self._validator(studies), self.tell, self.should_stop)
        if checkpoint:
            run.resume(checkpoint)
            log.info("Resumed at iteration %d of %d", run.engine.state.iteration, steps)
        return self._finish(run, run(), studies)

    def note(self, **values: object) -> None:
        """Write into the manifest, once."""
        if first():
            self.manifest.update(**values)

    def _loop(self, studies: Studies, base: Model | None, steps: int) -> Loop:
        method = initial_method(self.config, len(self.labels.names) + 1, studies.cache.preprocess.plan, base)
        ranks = idist.get_rank(), idist.get_world_size()
        return Loop(
            method, studies.patches(self.config, method.strong_views, steps, *ranks), self.config, steps, self.device
        )

    def _length(self, studies: Studies, base: Model | None) -> int:
        validator = self._validator(studies)
        trial = (lambda loop: validator(loop.method)) if validator else None
        return training_length(self.config, self.start, lambda steps: self._loop(studies, base, steps), trial)

    def _validator(self, studies: Studies) -> Callable[[nn.Module], CaseDice] | None:
        if not studies.validation:
            return None
        return lambda method: validate(method, studies.validation, studies.cache, self.config)  # type: ignore[arg-type]

    def _describe(self, studies: Studies, base: Model | None) -> None:
        sides = {"training": studies.training, "validation": studies.validation, "unlabelled": studies.unlabelled}
        self.note(
            status="running",
            signature=self.signature,
            method=self.config.method,
            seed=self.config.seed,
            config=self.config.to_dict(),
            plan=studies.cache.preprocess.plan.to_dict(),
            labels=dict(self.labels.values),
            started_from=base.version if base else None,
            cases={side: [case.id for case in cases] for side, cases in sides.items()},
            voxels=studies.voxels,
            skipped=studies.skipped,
            environment=environment(),
        )

    def _finish(self, run: Run, history: History, studies: Studies) -> Result:
        """Publish the best weights and write down how it went."""
        step, loop = run.engine.state.iteration, run.loop
        self.tell(Progress("publishing", step, loop.steps, best=history.best))
        weights = history.weights or loop.smoothed.state_dict()
        metrics = {"dice": history.best, "cases": history.cases, "iterations": step}
        model = Model(self.config, studies.cache.preprocess.plan, self.labels, weights, metrics=metrics)
        verdict = publish(model, self.folder, studies, self.config)
        seconds = {
            "training": round(history.seconds, 1),
            "processor": round(time.process_time(), 1),  # of this process; what a busy machine does not distort
            "waiting_for_data": round(loop.waited, 2),
            "in_all": round(time.monotonic() - self.start, 1),
        }
        self.note(
            status=run.ended,
            iterations=step,
            validation=history.metrics,
            dice=history.best,
            dice_by_case=history.cases,
            live_dice=verdict.live,
            version=verdict.version,
            reason=verdict.reason,
            uses=dict(loop.uses),
            skipped=studies.skipped | loop.skipped,
            seconds=seconds,
        )
        if run.ended != "stopped" and first():
            for file in self.run_folder.glob("checkpoint_*.pt"):
                file.unlink()
        self.tell(Progress("ended", step, loop.steps, metric=history.best, best=history.best, seconds=history.seconds))
        return Result(verdict.version, history.best, verdict.reason, self.manifest.file)
