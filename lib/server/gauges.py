"""How the project stands, for ``/metrics``: studies, training, model, scores, disk, from what the app knows already."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from prometheus_client.core import GaugeMetricFamily as Gauge
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from lib.errors import SemisegError
from lib.server.cases import OnDemand, worklist
from lib.server.health import Served, checks, free_bytes
from lib.server.train_stats import TrainStats

logger = logging.getLogger(__name__)

EVERY = 5.0  # seconds for which what was found is answered again: several may scrape, and ten thousand studies count


class ProjectGauges(Collector):
    """Looks at the project at most every few seconds; what cannot be found out is left out, and said in the log."""

    def __init__(self, app: Served) -> None:
        self.app = app
        self._lock, self._known, self._next = threading.Lock(), list[Metric](), 0.0

    def describe(self) -> Iterable[Metric]:
        """Nothing beforehand, so that registering looks at nothing."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """The gauges, as they are now or were a moment ago."""
        with self._lock:
            if time.monotonic() >= self._next:
                parts = (self._checks, self._studies, self._training, self._disk)
                self._known = [metric for part in parts for metric in _whatever_is_known(part)]
                self._next = time.monotonic() + EVERY
            return self._known

    def _checks(self) -> Iterator[Metric]:
        found = {name: not cause for name, cause in checks(self.app).items()}
        yield _gauge("semiseg_check_ok", "1 where /health finds nothing wrong", found, "check")

    def _studies(self) -> Iterator[Metric]:
        store, model = self.app.datastore(), self.app.live.loaded()
        waiting, labelled = worklist(store, self.app.config.modalities, model.strength if model else {})
        counts = {"labelled": len(labelled), "unlabelled": len(waiting)}
        yield _gauge("semiseg_studies", "Studies, of a patient with several series one", counts, "state")
        if isinstance(store, OnDemand):
            late = store.status()["waiting_to_be_stored"]  # type: ignore[attr-defined]
            yield _gauge("semiseg_labels_waiting", "Submitted labels that the DICOM server does not have yet", late)
        if model is None:
            return
        yield _gauge("semiseg_model_info", "Version of the live model", {model.version: 1}, "version")
        if model.dice is not None:
            yield _gauge("semiseg_model_dice", "Dice of the live model on its validation studies", model.dice)
        scores = self.app.scores.scores(model.checksum).of([case.id for case in waiting])
        if waiting:
            known = float(np.isfinite(scores[:, :1]).mean()) if scores.size else 0.0
            yield _gauge("semiseg_scored_share", "Share of the unlabelled studies that the live model scored", known)
        latest = self.app.scores.latest(model.checksum)
        if latest is not None:
            yield _gauge("semiseg_scored_timestamp_seconds", "When the live model last scored a study", latest)

    def _training(self) -> Iterator[Metric]:
        stats = TrainStats(self.app.folder)
        now = stats.read()
        yield _gauge("semiseg_training_running", "1 while a training runs", stats.locked())
        yield _gauge("semiseg_training_failed", "1 if the last training failed", now.get("status") == "failed")
        for key, name, text in (
            ("step", "step", "Iterations done"),
            ("total", "steps", "Iterations in all"),
            ("metric", "dice", "Dice of the latest validation"),
        ):
            if now.get(key) is not None:
                yield _gauge(f"semiseg_training_{name}", f"{text}, of the running or the last training", now[key])
        losses = {term: value for term, value in (now.get("losses") or {}).items() if value is not None}
        yield _gauge("semiseg_training_loss", "Loss terms of the running or the last training", losses, "term")

    def _disk(self) -> Iterator[Metric]:
        yield _gauge("semiseg_disk_free_bytes", "Free space where the folder lies", free_bytes(self.app), "folder")


def _gauge(name: str, text: str, value: Any, label: str | None = None) -> Metric:
    """One value, or with a ``label`` one for each of its values."""
    if label is None:
        return Gauge(name, text, value=float(value))
    gauge = Gauge(name, text, labels=[label])
    for key, each in value.items():
        gauge.add_metric([key], float(each))
    return gauge


def _whatever_is_known(part: Callable[[], Iterator[Metric]]) -> Iterator[Metric]:
    try:
        yield from part()
    except (SemisegError, OSError) as error:
        logger.warning("Not in the metrics now: %s", error)
