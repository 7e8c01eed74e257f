"""The train task: from the studies on the server to a published model, in a process of its own.

MONAI Label starts ``python -m monailabel.interfaces.utils.app -m train`` for it, which loads the app anew and calls
:class:`TrainingTask` there. In the server the same class checks requests and tells the clients how far it is.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.train import TrainTask
from monailabel.utils.async_tasks.utils import processes, tasks

from lib.config import Config
from lib.errors import NotReadyError, SemisegError
from lib.methods.requirements import check_labelled, check_modalities
from lib.selection.outlook import outlook
from lib.server.cases import cases_of, labelled_cases
from lib.server.settings import offered, requested
from lib.server.stopping import Stop
from lib.server.train_stats import TrainStats
from lib.studies.cases import Case, final_labels, find_cases
from lib.studies.labels import label_map
from lib.studies.modalities import check_patterns, group, patterns
from lib.training.model_folder import ModelFolder
from lib.training.progress import Progress
from lib.training.rounds import learning_curve
from lib.training.train import Result, train

logger = logging.getLogger(__name__)

EVERY = 10.0  # seconds between two lines of the log
UNDER_WAY_HERE = ("SUBMITTED", "RUNNING", "STOPPING")
UNDER_WAY = "A training of these studies is under way already: wait for its end or stop it"


DIED = (
    "The training's process died before it could say why. Train again with the same settings: if no label has changed, "
    "it goes on from its last checkpoint"
)


class TrainingTask(TrainTask):
    """Learns from the labelled studies and all others of the datastore."""

    def __init__(self, config: Config, studies: str, folder: ModelFolder) -> None:
        super().__init__("Learns from the labelled and the unlabelled studies; publishes the model if it is no worse")
        self.settings, self.studies, self.folder = config, studies, folder
        self.file = TrainStats(folder)
        self.running_here: Stop | None = None  # in this process

    def config(self) -> dict[str, Any]:
        """What a client may set; see :func:`lib.server.settings.offered`."""
        return offered(self.settings)

    def running(self) -> bool:
        """Whether a training of these studies runs or waits for its turn, here or left over by an earlier server."""
        return any(task["status"] in UNDER_WAY_HERE for task in self.tasks()) or self.file.locked()

    def stats(self) -> dict[str, Any]:
        """How far the training is; see :class:`lib.server.train_stats.TrainStats`."""
        stats = self.file.read()
        if not stats or "total_time" in stats or self.running():
            return stats
        stats = self.file.read()  # it may have ended, with its last word, in between
        if "total_time" in stats:
            return stats
        return self.file.end("stopped", DIED)

    def tasks(self) -> list[dict[str, Any]]:
        """This server's trainings, as clients see them; one that was asked to stop and has ended is ``STOPPED``."""
        for task in tasks("train"):
            if task["status"] == "STOPPING" and task["id"] not in processes("train"):
                task["status"] = "STOPPED"
        return tasks("train")

    def leftover(self) -> dict[str, Any] | None:
        """The training that an earlier server or the command line has started, as its task; None if there is none."""
        holder = self.folder.holder("training")
        known = [os.getpid(), *(process.pid for process in processes("train").values())]
        if holder is None or holder.pid in known:
            return None
        stats = self.file.read()
        line = f"{stats.get('stage', 'training')}: iteration {stats.get('step', 0)} of {stats.get('total', 0)}"
        started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder.create_time()))
        status = "STOPPING" if stats.get("status") == "stopping" else "RUNNING"
        about = [f"Process {holder.pid}, which this server has not started", line.capitalize()]
        return {"id": str(holder.pid), "status": status, "request": {}, "start_ts": started, "details": about}

    def stop(self) -> dict[str, Any] | None:
        """Ask the training to end, whoever has started it, and return at once.

        It saves its state, validates and publishes what it has if that is no worse, within ``stop_seconds``; while its
        process still loads there is nothing to save, and it ends at once.

        Returns:
            Its task, with the status ``STOPPING``; None if there is no training.
        """
        own = self.stop_own()
        if own:
            return own
        leftover, holder = self.leftover(), self.folder.holder("training")
        if leftover and holder:
            holder.terminate()
            return leftover | {"status": "STOPPING"}
        return None

    def busy(self) -> bool:
        """Whether a training that this server has started is running."""
        return self.running_here is not None or bool(processes("train"))

    def stop_own(self) -> dict[str, Any] | None:
        """As :meth:`stop`, but only of a training that this server has started."""
        if self.running_here:
            self.running_here.ask()
        for task in self.tasks():
            process = processes("train").get(task["id"])
            if process:
                task["status"] = "STOPPING"
                process.terminate()
                return task
        return None

    def check(self, request: Mapping[str, Any], datastore: Datastore, waiting: bool = False) -> None:
        """Refuse what cannot be trained, before a process is started for it.

        Args:
            waiting: the training may wait until another one has ended.

        Raises:
            NotReadyError: a training runs already, or no study is labelled, or too few for the method.
            ConfigError: a setting that does not fit, also not the method, or a modality that no file shows.
        """
        config = requested(request, self.settings)
        names = list(patterns(config.modalities))
        check_modalities(config.method, names)
        if self.running() and not waiting:
            raise NotReadyError(UNDER_WAY)
        check_patterns(cases_of(datastore), self.settings.modalities)
        labelled = labelled_cases(datastore, self.settings.modalities)
        if not labelled:
            raise NotReadyError("No study is labelled yet: label a few and submit them, then train")
        check_labelled(config.method, names, [list(case.modalities) for case in labelled])

    def begin(self, request: Mapping[str, Any]) -> None:
        """A training with these settings was started: clients see it at once, not when its process has loaded."""
        self.file.begin(requested(request, self.settings).method)

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Train to the end.

        Returns:
            The published ``version`` (null if the live model stays), its ``metric``, the ``reason`` in words, the
            ``status`` (``done``, or ``stopped`` if it was asked to end) and the path of the ``manifest``.

        Raises:
            SemisegError: why it could not be done; the stats hold the sentence too.
        """
        config = requested(request, self.settings)
        if self.file.locked():
            raise NotReadyError(UNDER_WAY)  # the stats are the other training's
        self.file.begin(config.method)
        stop = self.running_here = Stop(config.stop_seconds)
        try:
            with stop:
                result = self._train(config, datastore, stop)
        except BaseException as error:  # however it ends, the clients must not wait for ever
            reason = str(error) if isinstance(error, SemisegError) else f"{type(error).__name__}: {error}"
            self.file.end("stopped" if isinstance(error, _StoppedError) else "failed", reason)
            raise
        finally:
            self.running_here = None
        status = "stopped" if stop.asked else "done"
        brings = outlook(learning_curve(self.folder)).reason
        self.file.end(status, result.reason, version=result.version, metric=result.metric, outlook=brings)
        logger.info("Training ended: %s. %s", result.reason, brings)
        answer = {"version": result.version, "metric": result.metric, "reason": result.reason, "status": status}
        return answer | {"manifest": str(result.manifest)}

    def _train(self, config: Config, datastore: Datastore, stop: Stop) -> Result:
        files = [*cases_of(datastore), *_unlisted(self.studies, datastore)]
        check_patterns(files, config.modalities)
        cases = group(files, final_labels(self.studies), config.modalities)
        labels = label_map(config, self.studies, cases)
        lines = _Lines()

        def tell(now: Progress) -> None:
            if stop.asked and now.stage == "preparing":
                raise _StoppedError("The training was stopped before its first iteration")
            self.file(now)
            lines(now)

        def should_stop() -> bool:
            if stop.asked:
                self.file.stopping()
            return stop.asked

        return train(cases, labels, config, self.folder, progress=tell, should_stop=should_stop)


class _StoppedError(SemisegError):
    """It was asked to end when there was nothing to save yet."""


class _Lines:
    """A line in the log now and then, for ``GET /train/``. Unlike a print, it outlives the server that reads it."""

    def __init__(self) -> None:
        self.last = ("", -math.inf)

    def __call__(self, now: Progress) -> None:
        stage, told = self.last
        if now.stage != stage or time.monotonic() - told >= EVERY:
            self.last = (now.stage, time.monotonic())
            dice = "" if now.metric is None else f", Dice {now.metric:.3f}"
            logger.info("%s: iteration %d of %d%s", now.stage.capitalize(), now.step, now.total, dice)


def _unlisted(studies: str, datastore: Datastore) -> list[Case]:
    """What the datastore leaves out although it has an image's name, so that the manifest says why it is not used."""
    if not Path(studies).is_dir():
        return []
    listed = set(datastore.list_images())
    return [case for case in find_cases(studies) if case.id not in listed]
