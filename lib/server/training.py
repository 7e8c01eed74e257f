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

import psutil
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.train import TrainTask
from monailabel.utils.async_tasks.utils import tasks

from lib.config import Config
from lib.errors import NotReadyError, SemisegError
from lib.methods.requirements import check_labelled, check_modalities
from lib.server.cases import cases_of, labelled_cases
from lib.server.settings import offered, requested
from lib.server.train_stats import TrainStats
from lib.studies.cases import Case, final_labels, find_cases
from lib.studies.labels import label_map
from lib.studies.modalities import check_patterns, group, patterns
from lib.training.model_folder import ModelFolder
from lib.training.progress import Progress
from lib.training.train import Result, train

logger = logging.getLogger(__name__)

EVERY = 10.0  # seconds between two lines of the log
UNDER_WAY = "A training of these studies is under way already: wait for its end or stop it"


class TrainingTask(TrainTask):
    """Learns from the labelled studies and all others of the datastore."""

    def __init__(self, config: Config, studies: str, folder: ModelFolder) -> None:
        super().__init__("Learns from the labelled and the unlabelled studies; publishes the model if it is no worse")
        self.settings, self.studies, self.folder = config, studies, folder
        self.file = TrainStats(folder)

    def config(self) -> dict[str, Any]:
        """What a client may set; see :func:`lib.server.settings.offered`."""
        return offered(self.settings)

    def running(self) -> bool:
        """Whether a training of these studies runs or waits for its turn, here or left over by an earlier server."""
        return any(task["status"] in ("SUBMITTED", "RUNNING") for task in tasks("train")) or self.file.locked()

    def stats(self) -> dict[str, Any]:
        """How far the training is; see :class:`lib.server.train_stats.TrainStats`."""
        stats = self.file.read()
        if not stats or "total_time" in stats or self.running():
            return stats
        stats = self.file.read()  # it may have ended, with its last word, in between
        if "total_time" in stats:
            return stats
        return self.file.end("stopped", "The training was stopped, or its process died before it could say why")

    def stop_leftover(self) -> int | None:
        """End a training that an earlier server left behind, which this one's task list does not know.

        Returns:
            Its process id; None if there is none.
        """
        pid = self.file.read().get("pid", os.getpid())
        if pid == os.getpid() or not self.file.locked() or not psutil.pid_exists(pid):
            return None
        leftover = psutil.Process(pid)
        for process in [*leftover.children(recursive=True), leftover]:
            process.kill()
        leftover.wait(timeout=10)
        return pid

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
            The published ``version`` (null if the live model stays), its ``metric``, the ``reason`` in words and the
            path of the ``manifest``.

        Raises:
            SemisegError: why it could not be done; the stats hold the sentence too.
        """
        config = requested(request, self.settings)
        if self.file.locked():
            raise NotReadyError(UNDER_WAY)  # the stats are the other training's
        self.file.begin(config.method)
        try:
            result = self._train(config, datastore)
        except BaseException as error:  # however it ends, the clients must not wait for ever
            reason = str(error) if isinstance(error, SemisegError) else f"{type(error).__name__}: {error}"
            self.file.end("failed", reason)
            raise
        self.file.end("done", result.reason, version=result.version, metric=result.metric)
        logger.info("Training ended: %s", result.reason)
        answer = {"version": result.version, "metric": result.metric, "reason": result.reason}
        return answer | {"manifest": str(result.manifest)}

    def _train(self, config: Config, datastore: Datastore) -> Result:
        files = [*cases_of(datastore), *_unlisted(self.studies, datastore)]
        check_patterns(files, config.modalities)
        cases = group(files, final_labels(self.studies), config.modalities)
        labels = label_map(config, self.studies, cases)
        lines = _Lines()

        def tell(now: Progress) -> None:
            self.file(now)
            lines(now)

        return train(cases, labels, config, self.folder, progress=tell)


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
