"""The MONAI Label app: which tasks there are, and what it does differently from the library's defaults."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, count
from typing import Any, NoReturn

import requests
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore, DefaultLabelTag
from monailabel.interfaces.tasks.infer_v2 import InferTask
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask

from lib.access.audit import AuditLog
from lib.config import STRATEGIES, Config
from lib.device import limit_threads, pick_device, pick_precision
from lib.errors import ConfigError, DicomServerError, NotFoundError, NotReadyError, SemisegError, StudyError
from lib.selection.store import ScoreStore
from lib.server.authentication import ask_own_server
from lib.server.background import Arrivals, Describing, forget_removed
from lib.server.cases import OnDemand, image_file, labelled_cases, worklist
from lib.server.gauges import ProjectGauges
from lib.server.layers import surround
from lib.server.live import LiveModel
from lib.server.log_filter import keep_patients_out_of_logs
from lib.server.metrics import Metrics
from lib.server.scoring import DiceScoring, UncertaintyScoring
from lib.server.segmentation import SegmentationTask
from lib.server.signed_labels import sign_labels
from lib.server.stopping import before_the_server_ends
from lib.server.stores import store_of
from lib.server.strategies import LookUp
from lib.server.train_stats import TrainStats
from lib.server.training import TrainingTask
from lib.studies.label_history import STAMP
from lib.studies.labels import LabelMap, label_map
from lib.studies.modalities import patterns
from lib.training.model_folder import ModelFolder

logger = logging.getLogger(__name__)

UNCERTAINTY = "uncertainty"  # the scoring method behind the strategy of that name
MODEL = "semiseg"  # the name of the one model and its training in requests
FOREIGN = ("server_mode",)  # keys of --conf that are MONAI Label's own
ATTEMPTS = 20  # to choose a study that can be opened


class SemisegApp(MONAILabelApp):
    """Serves one folder of studies: segment, train, choose the next study, score."""

    def __init__(self, app_dir: str, studies: str, conf: Mapping[str, str]) -> None:
        try:
            self.config = Config.from_conf({key: value for key, value in conf.items() if key not in FOREIGN})
            pick_precision(self.config.precision, pick_device(self.config.device))
            patterns(self.config.modalities)
            label_map(self.config, studies)
        except ConfigError as error:
            _refuse_to_start(error)
        except NotReadyError:
            pass  # the first label that is submitted will name the classes
        limit_threads(self.config)
        self.folder = ModelFolder.of(self.config, studies)
        self.folder.path.mkdir(parents=True, exist_ok=True)
        self.live = LiveModel(self.folder.path / "live.pt", self.config, TrainStats(self.folder).locked)
        self.scores = ScoreStore(self.folder.scores)
        self.metrics = Metrics(ProjectGauges(self))
        self.audit = AuditLog(self.folder.path)
        self.describing = Describing(self.scores, self.config.score_minutes, lambda: self.live.exists)
        super().__init__(
            app_dir,
            studies,
            dict(conf),
            name="semiseg",
            description="Semi-supervised segmentation: learns from labelled and unlabelled studies",
        )
        sign_labels(self.datastore(), self.audit)
        forget_removed(self.datastore(), self.scores)
        keep_patients_out_of_logs()
        self._auto_update_scoring = False  # the library would score all studies anew at every start and every Next

    # The tasks

    def init_datastore(self) -> Datastore:
        """A folder of studies or a DICOMweb server; other servers are the library's affair."""
        return store_of(self.studies, self.config, self.folder) or super().init_datastore()

    def init_infers(self) -> dict[str, InferTask]:
        return {MODEL: SegmentationTask(self.live)}

    def init_trainers(self) -> dict[str, TrainTask]:
        return {MODEL: TrainingTask(self.config, self.studies, self.folder)}

    def init_strategies(self) -> dict[str, Strategy]:
        names = sorted(STRATEGIES, key=lambda name: name != self.config.strategy)  # clients offer the first one
        arrived = Arrivals(
            TrainStats(self.folder).locked, lambda: self._server_mode and self.async_scoring(UNCERTAINTY)
        )
        own = self.live, self.scores, self.config.modalities, self.config.lease_minutes, arrived
        return {name: LookUp(name, *own) for name in names}

    def init_scoring_methods(self) -> dict[str, ScoringMethod]:
        return {
            "dice": DiceScoring(self.live, self.folder, self.config.modalities),
            UNCERTAINTY: UncertaintyScoring(self.live, self.scores, self.config, TrainStats(self.folder)),
        }

    # The requests

    def info(self) -> dict[str, Any]:
        """What clients show: tasks, settings, classes, how far a training is."""
        self.labels = list(self._labels().names)
        about = super().info()
        stats = about["train_stats"]
        return about | {"train_stats": {name: stats[name] for name in stats if stats[name]}}  # OHIF takes {} as done

    def infer(self, request: Mapping[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """Segment a study of the datastore, or a file that was just uploaded.

        Args:
            request: ``model``, ``image`` (id or uploaded file), the parameters of :class:`SegmentationTask`, and
                ``save_label`` with ``label_tag`` to keep the result as a label of the study.

        Returns:
            ``file`` of the result, ``label`` (the stored label's id, else the file), ``tag`` and ``params``.

        Raises:
            SemisegError: one of its kinds, with the reason.
        """
        store = datastore or self.datastore()
        task = self.task("model", request.get("model"))
        image = image_file(request.get("image") or "", store)
        tag = request.get("label_tag", DefaultLabelTag.ORIGINAL.value)
        file, params = task({**request, "image": image})
        self.metrics.inferred(params["latencies"])
        label = file
        if request.get("save_label") and request["image"] in store.list_images():
            if params["content"] != "label":
                raise ConfigError("An uncertainty map cannot be kept as a label: leave out save_label or uncertainty")
            named = [{"name": name, "idx": value} for name, value in params["label_names"].items()]
            info = {"model": MODEL, "params": params, "label_info": named}
            label = store.save_label(request["image"], file, tag, info)
        return {"label": label, "tag": tag, "file": file, "params": params}

    def batch_infer(self, request: Mapping[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """Segment many studies; one that cannot be segmented is told as its ``error`` and does not end the batch."""

        def one(single: Mapping[str, Any], store: Datastore) -> dict[str, Any]:
            try:
                return self.infer(single, store)
            except SemisegError as error:
                logger.warning("Not segmented: %s", error)
                return {"error": str(error)}

        return self._batch_infer(request, datastore or self.datastore(), one)

    def next_sample(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The study to label next, with its ``path``; empty if there is none."""
        self._describe()
        strategy, store = self.task("strategy", request.get("strategy") or self.config.strategy), self.datastore()
        for attempt in count(1):
            chosen = strategy(request, store)
            if not chosen and isinstance(store, OnDemand) and store.trouble:
                raise DicomServerError(store.trouble)
            if not chosen:
                return {}
            try:
                return chosen | {"path": str(image_file(chosen["id"], store))}
            except (StudyError, NotFoundError) as error:  # refused from now on, or away: the next choice is another one
                logger.warning("Not offered. %s", error)
                if isinstance(error, NotFoundError):  # its file was deleted before the datastore heard of it
                    store.refresh()
                if request.get("client_id"):
                    self.scores.leases.release(chosen["id"], str(request["client_id"]))
                if attempt == ATTEMPTS:
                    raise
        raise AssertionError

    def scoring(self, request: Mapping[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """Run a scoring method."""
        with self._reason_as_last_line():
            method = self.task("scoring method", request.get("method"))
            return method(request, datastore or self.datastore())

    def task(self, kind: str, name: Any) -> Any:
        """The task of this kind (``model``, ``training``, ``strategy``, ``scoring method``) and name.

        Raises:
            NotFoundError: there is none.
        """
        found: Mapping[str, Any] = {
            "model": self._infers,
            "training": self._trainers,
            "strategy": self._strategies,
            "scoring method": self._scoring_methods,
        }[kind]
        if name not in found:
            raise NotFoundError(f"There is no {kind} '{name}' on this server; there are: {', '.join(found)}")
        return found[name]

    def train(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Train, then have the unlabelled studies scored; runs in the training's own process.

        Scoring is a task of its own in the server, because 3D Slicer holds its Train button until this process ends.
        """
        with self._reason_as_last_line():
            result = self.task("training", request.get("model"))(request, self.datastore())
        if result["version"]:
            self._start_scoring(here=result["status"] != "stopped")
        return result

    def on_save_label(self, image_id: str, label_id: str) -> dict[str, Any]:
        """What the answer to a submitted label says beside its id: the ``note`` where it had to be resampled."""
        store = self.datastore()
        infos = [store.get_label_info(label_id, tag) for tag in store.get_labels_by_image_id(image_id)]
        latest: Mapping[str, Any] = max(infos, key=lambda info: str(info.get(STAMP, "")), default={})
        return {"note": latest["note"]} if "note" in latest else {}

    def model_file(self, model: str, validate: bool = True) -> str | None:
        """File of the live model, to be downloaded.

        Raises:
            NotFoundError: no such model.
        """
        return self.task("model", model).get_path()

    def on_init_complete(self) -> None:
        """The server is about to answer: put its layers and routes in place."""
        super().on_init_complete()
        from monailabel.app import app  # exists by now, and must not be imported earlier

        try:
            surround(app, self)
        except ConfigError as error:
            _refuse_to_start(error)
        trainer = self.task("training", MODEL)
        before_the_server_ends(trainer.stop_own, trainer.busy, self.config.stop_seconds)
        self._describe()

    # Details

    def _labels(self) -> LabelMap:
        """The classes of the project, also before they are known."""
        try:
            return label_map(self.config, self.studies, labelled_cases(self.datastore()))
        except NotReadyError:
            return LabelMap({})

    @contextmanager
    def _reason_as_last_line(self) -> Iterator[None]:
        """In a task's own process, the last line that ``GET /train/`` or ``/scoring/`` shows is then the reason."""
        try:
            yield
        except SemisegError as error:
            if self._server_mode:
                raise
            raise SystemExit(str(error)) from error

    def _describe(self) -> None:
        """Before the first model: also the studies that arrived since the last time."""
        self.describing.start(lambda: [*chain(*worklist(self.datastore(), self.config.modalities, {}))])

    def _start_scoring(self, here: bool = True) -> None:
        try:
            started = self.async_scoring(UNCERTAINTY)
        except requests.RequestException as error:
            logger.info("No server to score the studies in (%s)", error)
            started = None
        if not started and here:
            self.scoring({"method": UNCERTAINTY})

    def _local_request(self, url: str, params: Mapping[str, Any] | None, action: str) -> Any:
        """As the library's, for a server that asks who is there: one of its own processes is."""
        answer = ask_own_server(self.config, self.folder.path, url, params or {})
        if answer.status_code != 200:
            logger.error("The server did not start what a task had asked it for (%s): %s", action, answer.text)
        return answer.json() if answer.status_code == 200 else None

    def _download_dcmqi_tools(self) -> None:
        """The library would download programs from the internet here; nothing of ours needs them."""


def _refuse_to_start(error: ConfigError) -> NoReturn:
    """End with the sentence alone: an exception would reach the reader as three pages of uvicorn and starlette."""
    print(f"\nsemiseg cannot start: {error}\n", file=sys.stderr, flush=True)
    logging.shutdown()
    os._exit(2)
