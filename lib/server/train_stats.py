"""How far the training of a project is: one small file that the training writes and the server reads.

Both clients look at four keys only. ``epoch`` of ``total_epochs`` is the bar, ``best_metric`` the accuracy, and as
soon as ``total_time`` is there they take the training as ended. So a beginning must remove it and every ending write
it, also one that could not write any more: then the server does, when the training's lock is free.
"""

from __future__ import annotations

import json
import math
import os
import time
from datetime import timedelta
from typing import Any

from lib.training.model_folder import ModelFolder
from lib.training.progress import Progress

INTERVAL = 0.25  # seconds between two writes while nothing but the step changes


class TrainStats:
    """The file ``train_stats.json`` of a model folder."""

    def __init__(self, folder: ModelFolder) -> None:
        folder.path.mkdir(parents=True, exist_ok=True)
        self.folder, self.file = folder, folder.path / "train_stats.json"
        self.written = -math.inf

    def locked(self) -> bool:
        """Whether a training of the project runs, in whatever process.

        It holds a lock of the operating system, which ends with its process, however that ends, and tells a server
        that was started anew that the training of its predecessor still runs.
        """
        return self.folder.locked("training")

    def read(self) -> dict[str, Any]:
        """The stats as they were written last; empty before the first training."""
        try:
            return json.loads(self.file.read_text())
        except (FileNotFoundError, ValueError):
            return {}

    def begin(self, method: str) -> None:
        """A training was asked for. The last accuracy stays until there is a newer one."""
        best = self.read().get("best_metric", 0.0)
        now = {"epoch": 0.01, "total_epochs": 1, "best_metric": best, "start_ts": int(time.time())}
        self._write(now | {"status": "running", "stage": "starting", "method": method})

    def __call__(self, progress: Progress) -> None:
        """A moment of the training, as its progress listener."""
        if progress.stage in ("preparing", "pre-training", "training") and time.monotonic() - self.written < INTERVAL:
            return
        epochs = max(1, progress.total_epochs)
        done = epochs * progress.step / max(1, progress.total)
        self._update(
            epoch=max(0.01, round(done, 2)),  # OHIF takes 0 for 1
            total_epochs=epochs,
            step=progress.step,
            total=progress.total,
            stage=progress.stage,
            metric=progress.metric,
            losses=progress.losses,
            warnings=list(progress.warnings),
            current_time=str(timedelta(seconds=int(progress.seconds))),
            **({} if progress.best is None else {"best_metric": progress.best}),
        )

    def stopping(self) -> None:
        """The training was asked to end and saves what it has."""
        self._update(status="stopping")

    def end(self, status: str, reason: str, **more: Any) -> dict[str, Any]:
        """The training ended: ``done``, ``failed`` or ``stopped``, and why, in words."""
        seconds = int(time.time()) - self.read().get("start_ts", int(time.time()))
        return self._update(
            status=status, reason=reason, stage="ended", total_time=str(timedelta(seconds=seconds)), **more
        )

    def _update(self, **values: Any) -> dict[str, Any]:
        return self._write(self.read() | values)

    def _write(self, values: dict[str, Any]) -> dict[str, Any]:
        draft = self.file.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(_finite(values)))
        os.replace(draft, self.file)
        self.written = time.monotonic()
        return values


def _finite(value: Any) -> Any:
    """Without nan and infinity, which are no JSON."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
