"""One run of the loop with all that hangs on it: validation, checkpoints, curves, progress, and its ways to end."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint, DiskSaver
from torch import Tensor

from lib.config import Config
from lib.errors import SemisegError
from lib.inference.model_file import save_whole
from lib.methods.base import Method
from lib.training.distribution import any_process, first
from lib.training.loop import Loop
from lib.training.progress import Listener, Progress
from lib.training.tracking import attach_curves
from lib.training.validation import CaseDice, mean_dice, modality_means
from lib.training.watch import Watch

log = logging.getLogger(__name__)

PRETRAINING = "pretraining"  # folder of the stage before, in that of the run
OVERTIME = 1.3  # of the minutes: a training whose machine became slower ends here, on the weights it has


@dataclass
class History:
    """The validations of a run; saved with its checkpoints.

    Attributes:
        metrics: step -> mean Dice. best: the highest. cases: the Dice of each study then. weights: those that gave it.
        seconds: of training so far, over all resumptions.
    """

    metrics: dict[int, float] = field(default_factory=dict)
    best: float | None = None
    cases: CaseDice = field(default_factory=dict)
    weights: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        vars(self).update(state)

    def add(self, step: int, found: CaseDice, method: Method) -> None:
        """Take in a validation; a tie goes to the later weights."""
        self.metrics[step] = mean_dice(found)
        if self.best is None or self.metrics[step] >= self.best:
            self.best, self.cases = self.metrics[step], found
            self.weights = {key: value.detach().cpu().clone() for key, value in method.weights().items()}

    def stale(self, patience: int) -> bool:
        """No better validation for so many of them."""
        late = list(self.metrics.values())[-patience:] if patience else []
        return bool(late) and len(self.metrics) > patience and max(late) < (self.best or 0.0)


class Run:
    """A loop that validates, saves, tells and ends.

    Args:
        folder: of this run. validator: Dice of each validation case with these weights; None: there are none.
        listener: told at every step. should_stop: asked at every step; true ends the run with its state saved.
        watch: looks for signs of a collapse. stage: the name that listeners are told.
    """

    def __init__(
        self,
        loop: Loop,
        config: Config,
        folder: Path,
        validator: Callable[[torch.nn.Module], CaseDice] | None,
        listener: Listener,
        should_stop: Callable[[], bool],
        watch: Watch | None = None,
        stage: str = "training",
    ) -> None:
        self.loop, self.config, self.folder = loop, config, folder
        self.validator, self.listener, self.should_stop = validator, listener, should_stop
        self.history, self.watch = History(), watch or Watch()
        self.stage, self.ended = stage, "finished"
        self.engine = loop.engine()
        self.objects = {**loop.state(), "history": self.history, "watch": self.watch, "engine": self.engine}
        self.start = time.monotonic()

    def resume(self, found: Sequence[Path]) -> None:
        """Go on from the last of these checkpoints as if nothing had happened, from the one before if it is damaged.

        Raises:
            SemisegError: all are damaged, or of another version of semiseg, whose methods have other parts.
        """
        failure: Exception | None = None
        for checkpoint in reversed(found):
            try:
                Checkpoint.load_objects(self.objects, torch.load(checkpoint, map_location="cpu", weights_only=True))
            except (RuntimeError, KeyError, ValueError, EOFError, OSError, UnpicklingError) as error:
                log.exception("%s cannot be read", checkpoint)
                failure = error
            else:
                self.start -= self.history.seconds
                return
        raise SemisegError(
            f"The interrupted training in {self.folder.name} cannot go on: its checkpoints are damaged or of another "
            "version of semiseg. Train again: that begins anew"
        ) from failure

    def __call__(self) -> History:
        """Run to the end; ``ended`` then says ``finished``, ``stopped``, ``converged`` or ``out of time``."""
        if self.engine.state.iteration < self.loop.steps:  # Ignite would begin a completed run anew
            self._attach()
            try:
                self.engine.run(epoch_length=self.loop.steps, max_epochs=1)
            finally:
                self.history.seconds = time.monotonic() - self.start
                self.loop.close()
        return self.history

    def _attach(self) -> None:
        """What happens after each iteration, in this order."""
        every = max(1, self.loop.steps // self.config.validations)
        completed = Events.ITERATION_COMPLETED
        self.engine.add_event_handler(completed, self._tell)
        if self.validator and first():
            self.engine.add_event_handler(
                completed(event_filter=lambda _, step: step % every == 0 or step == self.loop.steps), self._validate
            )
        if first():
            self.engine.add_event_handler(completed, self._watch)
            self.engine.add_event_handler(completed(every=every), self._log_monitors)
            self.engine.add_event_handler(completed(every=self.config.checkpoint_every), self._checkpoint())
            self.log_values = attach_curves(self.engine, self.folder, self.config)
        self.engine.add_event_handler(completed, self._end_early)

    def _checkpoint(self) -> Checkpoint:
        # two are kept: Ignite removes the oldest before it writes the next, and the last may be damaged
        saver = _DurableSaver(str(self.folder), require_empty=False)
        return Checkpoint(self.objects, saver, n_saved=2, global_step_transform=lambda *_: self.engine.state.iteration)

    def _watch(self, engine: Engine) -> None:
        self.watch(engine.state.output, engine.state.iteration)  # type: ignore[arg-type]

    def _log_monitors(self, engine: Engine) -> None:
        log.info("Monitors at iteration %d: %s", engine.state.iteration, self.watch.summary())

    def _tell(self, engine: Engine) -> None:
        self.history.seconds = time.monotonic() - self.start
        output: dict[str, float] = engine.state.output  # type: ignore[assignment]
        hidden = ("learning_rate", "monitor/")
        values = {name: value for name, value in output.items() if not name.startswith(hidden)}
        latest = list(self.history.metrics.values())[-1:]
        self.listener(
            Progress(
                self.stage,
                engine.state.iteration,
                self.loop.steps,
                values,
                latest[0] if latest else None,
                self.history.best,
                self.history.seconds,
            )
        )

    def _validate(self, engine: Engine) -> None:
        assert self.validator is not None
        step = engine.state.iteration
        found = self.validator(self.loop.smoothed)
        if not found:
            return  # all were deleted meanwhile; the log says so
        self.history.add(step, found, self.loop.smoothed)
        self.log_values(
            {"validation/dice": self.history.metrics[step]}
            | {f"validation/{name}": mean for name, mean in modality_means(found, self.config.modalities).items()}
            | {f"validation/{study}": sum(each.values()) / len(each) for study, each in found.items()},
            step,
        )

    def _end_early(self, engine: Engine) -> None:
        if engine.state.iteration == self.loop.steps:
            return
        reasons = {
            "stopped": self.should_stop(),
            "converged": self.history.stale(self.config.patience),
            "out of time": not (self.config.iterations or self.config.epochs)
            and self.history.seconds > OVERTIME * 60 * self.config.minutes,
        }
        found = next((name for name, true in reasons.items() if true), "")
        if any_process(bool(found)) if idist.get_world_size() > 1 else found:
            self.ended = found or "stopped"
            if self.ended == "stopped" and first():
                self._checkpoint()(engine)  # before the validation, which an uninterrupted run would not have had
            if self.validator and first() and engine.state.iteration not in self.history.metrics:
                self._validate(engine)
            engine.terminate()


class _DurableSaver(DiskSaver):
    """Ignite's own moves a whole file to its place, but does not sync it: a power cut could leave an empty one."""

    def _save_func(self, checkpoint: Mapping, path: Path, func: Callable) -> None:
        save_whole(dict(checkpoint), path)


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    return sorted(folder.glob("checkpoint_*.pt"), key=lambda path: int(path.stem.split("_")[1]))


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint of a run, if it has one."""
    return next(reversed(checkpoints(folder)), None)
