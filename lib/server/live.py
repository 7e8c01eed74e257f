"""The published model as the server holds it: loaded once, and again when another one takes its place."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from lib.config import Config
from lib.errors import NotReadyError, SemisegError
from lib.inference.segmenter import Segmenter

logger = logging.getLogger(__name__)

NO_MODEL = "There is no model yet: label a few studies and press Train"


class LiveModel:
    """What ``live.pt`` holds. As many threads at a time predict with it as the setting ``inferences`` says, by default
    one: on a processor, two side by side take as long as one after the other, and twice the memory.

    Args:
        file: where trainings publish; it need not exist yet.
        training: whether a training runs at the moment. While it does, predictions take one thread: more would spin
            on the cores that the training needs (see ``lib/__init__.py``), and slow down both by far more than that.

    Attributes:
        crowded: whether more predictions wait for their turn. While they do, each leaves a core to those who only ask
            for something: many readers are served as fast, and ``/info/`` answers them sooner.
    """

    def __init__(self, file: Path, config: Config, training: Callable[[], bool] = lambda: False) -> None:
        self.file, self.config, self.training = file, config, training
        self.crowded: Callable[[], bool] = lambda: False
        self._threads = config.threads or torch.get_num_threads()
        self._predicting, self._loading = threading.Semaphore(config.inferences), threading.Lock()
        self._stamp: tuple[int, int] | None = None
        self._segmenter: Segmenter | None = None

    @property
    def exists(self) -> bool:
        """Whether a model was published."""
        return self.file.is_file()

    @contextmanager
    def use(self) -> Iterator[Segmenter]:
        """The newest published model, for the length of the block.

        Raises:
            NotReadyError: none was published yet.
            SemisegError: the file is no model.
        """
        with self._predicting:
            segmenter = self._newest()
            torch.set_num_threads(self._spared())  # of this thread, where the block runs
            yield segmenter

    def apart(self) -> Segmenter:
        """The newest published model for a task that takes long: predictions go on beside it.

        Raises:
            NotReadyError, SemisegError: see :meth:`use`.
        """
        if not self.exists:
            raise NotReadyError(NO_MODEL)
        torch.set_num_threads(self._spared())
        return Segmenter.load(self.file, self.config.device, self.config.overlap)

    def loaded(self) -> Segmenter | None:
        """The newest published model for a look at its version and classes; None if there is none that can be used.

        Never waits for a prediction.
        """
        try:
            return self._newest() if self.exists else None
        except SemisegError as error:
            logger.error("%s", error)
            return None

    def _spared(self) -> int:
        """How many threads a prediction takes now."""
        if self.training():
            return 1
        return max(1, self._threads - 1) if self.crowded() else self._threads

    def _newest(self) -> Segmenter:
        with self._loading:
            try:
                status = self.file.stat()
            except FileNotFoundError:
                raise NotReadyError(NO_MODEL) from None
            stamp = (status.st_ino, status.st_mtime_ns)  # publishing moves a new file to the place
            if self._segmenter is None or stamp != self._stamp:
                self._segmenter = Segmenter.load(self.file, self.config.device, self.config.overlap)
                self._stamp = stamp
                logger.info("Serving model version %s", self._segmenter.version)
            return self._segmenter
