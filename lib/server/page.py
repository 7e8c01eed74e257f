"""What the project page asks of the server: each block from what the app knows already, made anew only when that has
changed. Nothing is computed of a study here but its picture."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from monailabel.utils.async_tasks.utils import tasks

from lib.access.audit import AuditLog
from lib.access.people import Role
from lib.dicom.listed import Series
from lib.errors import BusyError, NotFoundError, NotReadyError
from lib.page.answers import Answer, Answers, stamp
from lib.page.budget import budget_content
from lib.page.labels import labels_content
from lib.page.model import model_content
from lib.page.now import Pace, training_now
from lib.page.pictures import AFTER, Pictures
from lib.page.ranking import next_content
from lib.page.rounds import Rounds
from lib.selection.store import FEATURES
from lib.server.caller import caller
from lib.server.cases import FINAL, image_file, labelled_cases, worklist
from lib.server.dicom_datastore import DicomDatastore
from lib.server.failures import recent
from lib.server.health import Served, checks
from lib.server.live import NO_MODEL
from lib.server.training import TrainingTask
from lib.studies.cases import study_id
from lib.training.rounds import learning_curve

BLOCKS = ("model", "next", "labels", "budget")
LOOKED = 5.0  # seconds for which the server's own health is not looked at again
EVENTS = 50  # of the audit log
KINDS = {"scoring": "scoring", "batch_infer": "batch inference"}  # MONAI Label's tasks beside the training
PENDING = ("SUBMITTED", "RUNNING")


class Paged(Served, Protocol):
    """What the page needs of :class:`lib.server.app.SemisegApp`."""

    audit: AuditLog

    def task(self, kind: str, name: Any) -> Any:
        """The task of this kind and name."""


class Busy(Protocol):
    """The places of the inferences, see :class:`lib.server.limiter.Limiter`."""

    busy: int

    @property
    def queue(self) -> Any:
        """Those that wait."""


class ProjectPage:
    """The blocks of one app.

    Attributes:
        inferences: set when the server's layers are in place.
    """

    def __init__(self, app: Paged) -> None:
        self.app = app
        self.answers, self.rounds, self.pace = Answers(), Rounds(app.folder), Pace()
        self.pictures = Pictures(app.folder.path / "pictures")
        self.inferences: Busy | None = None

    def now(self) -> Answer:
        """What happens at the moment, and a stamp of each other block: it is asked for when that has changed."""
        task: TrainingTask = self.app.task("training", "semiseg")
        stats, running, rounds = task.stats(), task.running(), self.rounds.all()
        return Answer.of(
            {
                "project": self._project(),
                "user": _user(),
                "training": training_now(stats, running, self.pace, rounds[-1].to_dict() if rounds else None),
                "inferences": {
                    "running": self.inferences.busy if self.inferences else 0,
                    "waiting": len(self.inferences.queue) if self.inferences else 0,
                },
                "tasks": [found for kind in KINDS if (found := _task(kind))],
                "errors": self._errors(),
                "stamps": {block: self._stamp(block) for block in BLOCKS},
            }
        )

    def model(self) -> Answer:
        """See :func:`lib.page.model.model_content`."""
        return self.answers.get("model", self._stamp("model"), self._model)

    def next(self, reader: str, page: int) -> Answer:
        """See :func:`lib.page.ranking.next_content`, with the strategy, and on a DICOM server the viewer's address."""
        return self.answers.get(("next", reader, page), self._stamp("next"), lambda: self._next(reader, page))

    def labels(self, page: int) -> Answer:
        """See :func:`lib.page.labels.labels_content`."""
        return self.answers.get(("labels", page), self._stamp("labels"), lambda: self._labels(page))

    def budget(self) -> Answer:
        """See :func:`lib.page.budget.budget_content`."""
        return self.answers.get("budget", self._stamp("budget"), self._budget)

    def picture(self, study: str, uncertainty: bool) -> bytes:
        """PNG of the study's most uncertain slice.

        Raises:
            NotFoundError, StudyError: there is no such study, or it cannot be read.
            NotReadyError: there is no model.
            BusyError: not now: another one is drawn, or a training runs, from which mere thumbnails take nothing.
        """
        live = self.app.live.loaded()
        if live is None:
            raise NotReadyError(NO_MODEL)
        known = self.pictures.kept(study, live.checksum, uncertainty)
        if known:
            return known
        if not uncertainty and self.app.task("training", "semiseg").running():
            raise BusyError("Pictures are drawn when the training has ended; one with its uncertainty at once", AFTER)
        image = image_file(study, self.app.datastore())
        with self.app.live.use() as segmenter:
            return self.pictures.make(segmenter, study, image, uncertainty)

    def report(self, run: str, name: str) -> Path:
        """The file of a report.

        Raises:
            NotFoundError: there is none.
        """
        known = {each.run for each in self.rounds.all() if each.report}
        if run not in known or name not in ("report.html", "report.json"):
            raise NotFoundError(f"There is no report '{run[:100]}/{name[:100]}'; a training that ends writes one")
        return self.app.folder.runs / run / name

    # What the blocks are made from

    def _stamp(self, block: str) -> str:
        folder, index = self.app.folder, list(self._index())
        live = folder.path / "live.pt"
        scores = [folder.scores, folder.scores.with_name(f"{folder.scores.name}-wal")]
        if block == "model":
            return stamp([live, folder.path / "versions", *self.rounds.files()])
        if block == "next":
            return stamp([live, *scores, *index], len(self.app.scores.leases.open()))  # a lease ends by itself
        if block == "labels":
            return stamp([live, self.app.audit.file, *scores, *index, *self.rounds.files()])
        return stamp([live, *scores, *index, *self.rounds.files()])

    def _index(self) -> Iterator[Path]:
        """Files that change when a study or a label comes or goes."""
        if "://" in str(self.app.studies):
            yield from (self.app.folder.mirror / name for name in ("listing.sqlite", "listing.sqlite-wal", "outbox"))
        else:
            yield from (Path(self.app.studies), Path(self.app.studies) / "datastore_v2.json")

    def _project(self) -> dict[str, Any]:
        moment = int(time.monotonic() / LOOKED)
        key = f"{self._stamp('budget')} {moment if self._series() is not None else ''}"
        return self._plain("project", key, self._counts)

    def _counts(self) -> dict[str, Any]:
        waiting, labelled = self._worklist()
        studies = str(self.app.studies)
        server = urlsplit(studies).hostname if "://" in studies else None  # the address may hold a password
        return {"name": server or Path(studies).name, "labelled": len(labelled), "unlabelled": len(waiting)}

    def _errors(self) -> list[dict[str, Any]]:
        """What is wrong now, then what went wrong lately, the newest first."""
        moment = int(time.monotonic() / LOOKED)
        wrong = self._plain("health", str(moment), lambda: [cause for cause in checks(self.app).values() if cause])
        lately = [{"when": when, "text": text} for when, text in reversed(recent)]
        return [{"when": None, "text": f"At this moment, {text}"} for text in wrong] + lately

    def _model(self) -> dict[str, Any]:
        live = self.app.live.loaded()
        return model_content(self.app.folder, live.version if live else None, self.rounds.all())

    def _next(self, reader: str, page: int) -> dict[str, Any]:
        live = self.app.live.loaded()
        names = dict(enumerate(live.labels.names, 1)) if live else {}
        ids = [case.id for case in self._worklist()[0]]
        checksum = live.checksum if live else None
        content = next_content(ids, self.app.scores, checksum, names, reader, page)
        series = self._series() or {}
        for row in content["rows"]:
            found = series.get(row["study"])
            row["viewer"] = f"ohif/monai-label?StudyInstanceUIDs={found.study}" if found else None
        return content | {"strategy": self.app.config.strategy, "version": live.version if live else None}

    def _labels(self, page: int) -> dict[str, Any]:
        live = self.app.live.loaded()
        infos, store = {}, self.app.datastore()
        for case in labelled_cases(store, self.app.config.modalities):
            label = study_id(case.label) if self.app.config.modalities and case.label else case.id
            known = store.get_label_by_image_id(label, FINAL)  # not one under the id of a patient
            infos[case.id] = store.get_label_info(label, FINAL) if known else {}
        refused = self._refused(live.checksum if live else FEATURES)
        return labels_content(infos, live.version if live else None, refused, self.app.audit.recent(EVENTS), page)

    def _refused(self, checksum: str) -> dict[str, str]:
        """By the DICOM server's listing, by the last training, and by the scoring; the latter says it last."""
        store = self.app.datastore()
        listed = store.studies.now().refused if isinstance(store, DicomDatastore) else {}
        rounds = self.rounds.all()
        return {**listed, **(rounds[-1].skipped if rounds else {}), **self.app.scores.failures(checksum)}

    def _budget(self) -> dict[str, Any]:
        live = self.app.live.loaded()
        scores = self.app.scores.get(live.checksum) if live else {}
        labelled = {case.id for case in labelled_cases(self.app.datastore())}
        return budget_content(learning_curve(self.app.folder), scores, labelled)

    def _worklist(self) -> tuple[list[Any], list[Any]]:
        live = self.app.live.loaded()
        return worklist(self.app.datastore(), self.app.config.modalities, live.strength if live else {})

    def _series(self) -> dict[str, Series] | None:
        """Of a DICOM server; None of a folder."""
        store = self.app.datastore()
        return dict(store.studies.now().series) if isinstance(store, DicomDatastore) else None

    def _plain(self, key: str, now: str, make: Callable[[], Any]) -> Any:
        return json.loads(self.answers.get(key, now, make).content)


def _user() -> dict[str, Any]:
    """Who looks at the page, and what the page may offer."""
    person = caller().person
    admin = person is None or person.role >= Role.ADMIN
    return {"name": person.name if person else None, "role": person.role.title if person else None, "admin": admin}


def _task(kind: str) -> dict[str, Any] | None:
    """The latest task of this kind; of one that failed the last line that its process said."""
    known = tasks(kind)
    if not known:
        return None
    waiting = sum(task["status"] in PENDING for task in known)
    latest = next((task for task in known if task["status"] in PENDING), known[-1])
    said = list(latest.get("details") or ()) if latest["status"] == "ERROR" else []
    return {
        "kind": KINDS[kind],
        "method": latest["request"].get("method") or latest["request"].get("model"),
        "status": latest["status"].lower(),
        "since": latest["start_ts"],
        "pending": waiting,
        "text": said[-1] if said else "",
    }
