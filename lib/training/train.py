"""A training from the cases of a project to a published model."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import ignite.distributed as idist
import torch
from torch import Tensor, nn

from lib.config import Config
from lib.device import is_out_of_memory, limit_threads
from lib.errors import SemisegError, StorageFullError
from lib.files import full_disk_said, remove_drafts
from lib.inference.model_file import Model
from lib.methods.requirements import check_labelled, check_modalities, idle
from lib.report.write import try_report
from lib.studies.cases import Case
from lib.studies.labels import LabelMap
from lib.studies.modalities import patterns
from lib.training.distribution import first, own_device, process_group
from lib.training.length import remaining_length, training_length
from lib.training.loop import Loop
from lib.training.manifest import Manifest, described, environment
from lib.training.model_folder import ModelFolder
from lib.training.prepare import Studies, prepare
from lib.training.pretraining import Pretraining
from lib.training.progress import Listener, Progress
from lib.training.publish import publish
from lib.training.run import History, Run, checkpoints, latest_checkpoint
from lib.training.start import initial_method, interrupted_run, live_model, new_run, signature
from lib.training.validation import CaseDice, modality_means, validate
from lib.training.watch import Watch, labelled_prior

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
        ConfigError: the method and the modalities of the settings do not go together.
        NotReadyError: nothing to train on, too little for the method, or another training of this project is under way.
        SemisegError: the training cannot go on.
    """
    with process_group(config.device), folder.lock("training", wanted=first()):
        limit_threads(config)
        job = _Job(cases, labels, config, folder, progress or (lambda _: None), should_stop or (lambda: False))
        try:
            with full_disk_said("The training has ended; the live model and the last checkpoint stay as they were"):
                return job.run()
        except BaseException as error:
            status = "interrupted" if isinstance(error, (KeyboardInterrupt, StorageFullError)) else "failed"
            with contextlib.suppress(OSError):  # on a full disk the manifest says "running", which is resumed as well
                job.note(status=status, error=str(error) or type(error).__name__)
            if status == "failed" and first():
                try_report(job.run_folder)
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
        self.cases, self.labels, self.folder, self.should_stop = cases, labels, folder, should_stop
        self.listener, self.done, self.total = tell, 0, 0  # iterations of the stage before; of both together
        self.device = own_device(config.device)
        on_gpu = self.device.type == "cuda"
        self.config = config.replace(size="medium" if on_gpu else "small") if config.size == "auto" else config
        self.signature = signature(self.config, labels, cases)
        self.run_folder = interrupted_run(folder, self.signature) or new_run(folder.runs, config.method)
        self.manifest = Manifest(self.run_folder)
        remove_drafts(self.run_folder)
        self.batch = (0, 0)
        smaller = self.manifest.values.get("smaller_batch")  # it ran out of memory before it was interrupted
        if smaller:
            self.config = self.config.replace(batch_labelled=smaller[0], batch_unlabelled=smaller[1])
        self.warnings: list[str] = list(self.manifest.values.get("warnings", []))

    def run(self) -> Result:
        """From the start, or where it was interrupted, to the end; with smaller batches where the memory is short."""
        while True:
            try:
                return self._attempt()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._shrink(error)
            if self.device.type == "cuda":  # by now nothing refers to the failed iteration any more
                torch.cuda.empty_cache()

    def _attempt(self) -> Result:
        base, studies = self._prepare()
        self.batch = studies.batch(self.config)
        checkpoint = bool(latest_checkpoint(self.run_folder))
        stage = None if checkpoint else self._stage(studies, base)
        encoder = stage.kept() if stage else None
        if checkpoint or (stage and latest_checkpoint(stage.folder)):
            before, steps = int(self.manifest.values["pretraining"].get("steps", 0)), int(self.manifest.values["steps"])
            self.note(status="running", resumed=self.manifest.values.get("resumed", 0) + 1)
        else:
            self._describe(studies, base)
            before, steps = self._lengths(studies, base, stage, encoder is not None)
        self.total = before + steps
        if stage and encoder is None:
            encoder, record = stage(before, self.tell, self.should_stop)
            self.note(pretraining=record)
            if encoder is None:
                return self._paused()
        self.done = before
        run = self._run(studies, base, steps, encoder)
        if checkpoint:
            run.resume(checkpoints(self.run_folder))
            log.info("Resumed at iteration %d of %d", run.engine.state.iteration, steps)
        return self._finish(run, run(), studies)

    def _shrink(self, error: BaseException) -> None:
        """Half the patches an iteration from now on; the next resumption knows.

        Raises:
            SemisegError: it cannot be less.
        """
        labelled, unlabelled = (max(1, size // 2) for size in self.batch)
        if (labelled, unlabelled) == self.batch or idist.get_world_size() > 1:
            many = "for one patch" if sum(self.batch) < 3 else f"for {sum(self.batch)} patches in each process"
            raise SemisegError(f"There is not enough memory {many}; lower patch, size or threads ({error})") from error
        before, self.batch = self.batch, (labelled, unlabelled)
        self.config = self.config.replace(batch_labelled=labelled, batch_unlabelled=unlabelled)
        self.note(smaller_batch=self.batch, batch=self.batch)
        self.warn(
            f"Out of memory: the training goes on with {labelled} labelled and {unlabelled} unlabelled patches an "
            f"iteration instead of {before[0]} and {before[1]}"
        )

    def _prepare(self) -> tuple[Model | None, Studies]:
        """The model to go on from and the studies, which have what the method needs."""
        self.tell(Progress("preparing"))
        names = list(patterns(self.config.modalities))
        check_modalities(self.config.method, names)
        base = live_model(self.folder, self.config, self.labels)
        studies = prepare(
            self.cases, self.labels, self.config, self.folder, base.plan if base else None,
            self.device.type, lambda: self.tell(Progress("preparing")),
        )  # fmt: skip
        check_labelled(self.config.method, names, [list(case.modalities) for case in studies.training])
        self.warn(idle(self.config.method, len(studies.unlabelled)))
        return base, studies

    def _run(self, studies: Studies, base: Model | None, steps: int, encoder: dict[str, Tensor] | None) -> Run:
        config = remaining_length(self.config) if self.done else self.config
        watch = Watch(int(config.ramp * steps), labelled_prior(studies), self.warn)
        loop = self._loop(studies, base, steps, encoder)
        return Run(loop, config, self.run_folder, self._validator(studies), self.tell, self.should_stop, watch)

    def tell(self, now: Progress) -> None:
        """To the listener, with the iterations of both stages and all warnings so far."""
        step, total = now.step + self.done, self.total or now.total
        self.listener(dataclasses.replace(now, step=step, total=total, warnings=tuple(self.warnings)))

    def warn(self, sentence: str | None) -> None:
        """Into the log, the manifest and what clients are told, once."""
        if sentence and sentence not in self.warnings:
            log.warning("%s.", sentence)
            self.warnings.append(sentence)
            self.note(warnings=self.warnings)

    def note(self, **values: object) -> None:
        """Write into the manifest, once."""
        if first():
            self.manifest.update(**values)

    def _stage(self, studies: Studies, base: Model | None) -> Pretraining | None:
        if not Pretraining.wanted(self.config, studies.cache.preprocess.plan, base):
            return None
        return Pretraining(self.config, studies, self.run_folder, self.folder.encoders, self.device)

    def _paused(self) -> Result:
        reason = "Stopped in the stage before the training: the next one with these settings goes on from here"
        self.note(status="stopped", reason=reason)
        self.tell(Progress("ended"))
        return Result(None, None, reason, self.manifest.file)

    def _loop(self, studies: Studies, base: Model | None, steps: int, encoder: dict[str, Tensor] | None = None) -> Loop:
        method = initial_method(self.config, len(self.labels.names) + 1, studies.cache.preprocess.plan, base)
        if encoder:
            method.networks[0].encoder.load_state_dict(encoder)  # type: ignore[union-attr]
        ranks = idist.get_rank(), idist.get_world_size()
        patches = studies.patches(self.config, method.strong_views, steps, *ranks)
        return Loop(method, patches, self.config, steps, self.device)

    def _lengths(self, studies: Studies, base: Model | None, stage: Pretraining | None, kept: bool) -> tuple[int, int]:
        """Iterations of the stage before and of the training itself, written down."""
        before = training_length(stage.config, time.monotonic(), stage.loop, None) if stage and not kept else 0
        validator = self._validator(studies)
        trial = (lambda loop: validator(loop.method)) if validator else None
        config = remaining_length(self.config) if before else self.config
        steps = training_length(config, self.start, lambda steps: self._loop(studies, base, steps), trial)
        self.note(steps=steps, pretraining=stage.record(before) if stage else {})
        return before, steps

    def _validator(self, studies: Studies) -> Callable[[nn.Module], CaseDice] | None:
        if not studies.validation:
            return None
        return lambda method: validate(method, studies.validation, studies.cache, self.config)  # type: ignore[arg-type]

    def _describe(self, studies: Studies, base: Model | None) -> None:
        self.note(
            status="running",
            signature=self.signature,
            method=self.config.method,
            seed=self.config.seed,
            config=self.config.to_dict(),
            started_from=base.version if base else None,
            environment=environment(),
            **described(studies, self.config),
        )

    def _finish(self, run: Run, history: History, studies: Studies) -> Result:
        """Publish the best weights and write down how it went."""
        step, loop = run.engine.state.iteration, run.loop
        self.tell(Progress("publishing", step, loop.steps, best=history.best))
        weights = history.weights or loop.smoothed.weights()
        means = modality_means(history.cases, self.config.modalities)
        metrics = {"dice": history.best, "cases": history.cases, "modalities": means, "iterations": step}
        plan = studies.cache.preprocess.plan
        model = Model(self.config, plan, self.labels, weights, plan.channels, metrics=metrics)
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
            for file in self.run_folder.rglob("checkpoint_*.pt"):
                file.unlink()
        if first():
            try_report(self.run_folder, model, studies.validation)
        self.tell(Progress("ended", step, loop.steps, metric=history.best, best=history.best, seconds=history.seconds))
        return Result(verdict.version, history.best, verdict.reason, self.manifest.file)
