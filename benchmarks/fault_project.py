"""What ``faults.py`` torments: a project of phantoms, its server, and readers who know what they were promised."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import psutil
import requests

from lib.config import Config
from lib.errors import SemisegError
from lib.inference.model_file import Model
from lib.studies.phantoms import write_studies
from lib.training.model_folder import ModelFolder

APP = Path(__file__).resolve().parents[1] / "apps" / "semiseg"
STUDIES, LABELLED, SHAPE = 12, 6, (24, 24, 16)
NAMED = [{"name": "organ", "idx": 1}, {"name": "lesion", "idx": 2}]
SETTINGS = {"method": "supervised", "iterations": 60, "validations": 3, "checkpoint_every": 5, "patch": "16,16,16",
            "size": "small", "precision": "fp32", "workers": 1, "threads": 1, "score_minutes": 0.05}  # fmt: skip
READERS, PAUSE, PATIENCE = 4, 0.1, 120.0  # threads; seconds between two labels of each, and for an answer
KEPT = Config().keep_labels

Label = tuple[str, str]  # sha256 of its content, its submitter's mark in the info


class Project:
    """Studies and model folder, and for each study and tag the labels that a reader was told are taken, in order."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.studies = folder, folder / "studies"
        self.ids = write_studies(self.studies, STUDIES, LABELLED, shape=SHAPE)
        self.affines = {study: nib.load(self.studies / f"{study}.nii.gz").affine for study in self.ids}  # type: ignore[attr-defined]
        self.model = ModelFolder(folder / "model")
        self.taken: dict[tuple[str, str], list[Label]] = defaultdict(list)
        self.sent: dict[tuple[str, str], Label] = {}  # without an answer: it may have been taken or not
        self.refused: list[str] = []  # answers that no reader should get
        self.busy = [threading.Lock() for _ in range(READERS)]  # held by a reader while a label is on its way
        self.groups: list[int] = []  # process groups of all servers: what outlived them is ended in the end

    def damage(self, server: Server) -> dict[str, int]:
        """What a look at everything finds lost or unreadable, as figures."""
        with contextlib.ExitStack() as quiet:
            for reader in self.busy:
                quiet.enter_context(reader)
            lost = sum(self._lost(server, *key) for key in [*self.taken])
        models = [*(self.model.path / "versions").glob("*.pt"), *([self.model.live] if self.model.live else [])]
        return {
            "labels_lost": lost,
            "models_unreadable": sum(not _loads(file) for file in models),
            "stores_unreadable": sum(not _opens(file) for file in self.model.path.glob("*.sqlite"))
            + (not _is_json(self.studies / "datastore_v2.json")),
        }

    def run_of_training(self) -> Path | None:
        """The latest run, if it has a checkpoint to go on from and has not come to its end."""
        for manifest in sorted(self.model.runs.glob("*/manifest.json"), reverse=True)[:1]:
            if json.loads(manifest.read_text()).get("status") == "running" and list(manifest.parent.glob("*.pt")):
                return manifest.parent
        return None

    def end(self) -> None:
        """End what outlived the servers."""
        for group in self.groups:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)

    def _lost(self, server: Server, study: str, tag: str) -> int:
        """How many of the labels that were taken are not there as they were."""
        taken, sent = self.taken[study, tag], self.sent.get((study, tag))
        now = server.label(study, tag)
        if sent and now == sent:
            taken.append(sent)
        missing = int(not taken or now != taken[-1])
        history = self.studies / "labels" / ".history" / tag / study
        kept = {hashlib.sha256(file.read_bytes()).hexdigest() for file in history.glob("*.nii.gz")}
        return missing + sum(content not in kept for content, _ in taken[-KEPT // 2 :])


class Server:
    """One life of a server, ready to answer."""

    def __init__(self, project: Project) -> None:
        self.project, self.log = project, project.folder / "server.log"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url, self.session = f"http://127.0.0.1:{port}", requests.Session()
        conf = SETTINGS | {"model": project.model.path}
        command = [sys.executable, "-m", "monailabel.main", "start_server", "--app", str(APP)]
        command += ["--studies", str(project.studies), "--host", "127.0.0.1", "--port", str(port)]
        command += [word for key, value in conf.items() for word in ("--conf", key, str(value))]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, cwd=project.folder,
                env=os.environ | {"OMP_NUM_THREADS": "1", "MONAI_LABEL_SESSION_PATH": str(project.folder / "sessions")},
            )  # fmt: skip
        project.groups.append(self.process.pid)
        _wait(self._ready, f"the server did not start; see {self.log}")

    def label(self, study: str, tag: str) -> Label | None:
        """The label that counts: its content and its submitter's mark."""
        where = {"label": study, "tag": tag}
        content = self.session.get(f"{self.url}/datastore/label", params=where, timeout=PATIENCE)
        info = self.session.get(f"{self.url}/datastore/label/info", params=where, timeout=PATIENCE)
        if not (content.ok and info.ok):
            return None
        return hashlib.sha256(content.content).hexdigest(), str(info.json().get("mark"))

    def start_training(self) -> None:
        """As soon as the last one, which may have been killed in this moment or be left over, lets it begin."""
        if not (self.project.model.locked("training") or self._loading()):
            _wait(lambda: self._train().status_code == 200, "no training could be started")

    def train_to_the_end(self) -> dict[str, int]:
        """A training, the interrupted one where there is one, up to its end."""
        self.start_training()
        _wait(lambda: "total_time" in self.stats(), "a training did not come to its end")
        return {"trainings_not_resumable": int(self.stats().get("status") != "done")}

    def goes_on(self, run: Path) -> bool:
        """Whether the next training resumes this run; the last one may have come to its end before it was killed."""

        def state() -> tuple[str, int]:
            about = json.loads((run / "manifest.json").read_text())
            return about["status"], about.get("resumed", 0)

        before = state()
        if before[0] != "running":
            return True
        self.start_training()
        others = len(list(run.parent.iterdir()))

        def decided() -> bool:
            return (
                state() != before or self.stats().get("status") == "failed" or len(list(run.parent.iterdir())) > others
            )

        _wait(decided, "the next training does not begin")
        return state() != before

    def kill_training(self) -> None:
        """SIGKILL, in whatever it is doing: loading, preparing, training, publishing. Its helpers see it themselves."""
        holder = self.project.model.holder("training")
        for process in [*([holder] if holder else []), *self._loading()]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
                process.wait(PATIENCE)

    def kill(self) -> None:
        """SIGKILL to the server alone; its training goes on without it."""
        self.process.kill()
        self.process.wait()

    def stats(self) -> dict[str, Any]:
        """How far the training is."""
        return self.session.get(f"{self.url}/info/", timeout=PATIENCE).json()["train_stats"].get("semiseg", {})

    def _loading(self) -> list[psutil.Process]:
        """The process of a training of this server, also before it holds the project."""
        return [child for child in psutil.Process(self.process.pid).children() if _trains(child)]

    def _train(self) -> requests.Response:
        return self.session.post(f"{self.url}/train/semiseg", json={}, timeout=PATIENCE)

    def _ready(self) -> bool:
        assert self.process.poll() is None, f"the server ended; see {self.log}:\n{self.log.read_text()[-3000:]}"
        with contextlib.suppress(requests.ConnectionError):
            return self.session.get(f"{self.url}/info/", timeout=PATIENCE).ok
        return False


def _trains(process: psutil.Process) -> bool:
    """Not if it has ended since it was listed: the server's children come and go while they are looked at."""
    try:
        return "train" in process.cmdline()
    except psutil.NoSuchProcess:  # a zombie too
        return False


class Readers:
    """While the block runs each reader submits one label after the other, of studies that are no other reader's."""

    def __init__(self, project: Project, server: Server, tags: tuple[str, ...]) -> None:
        self.project, self.server, self.tags = project, server, tags
        self.done, self.taken = threading.Event(), 0
        self.threads = [threading.Thread(target=self._read, args=(reader,)) for reader in range(READERS)]

    def __enter__(self) -> Readers:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        for thread in self.threads:
            thread.join()

    def _read(self, reader: int) -> None:
        chance, session = random.Random(), requests.Session()
        while not self.done.wait(PAUSE):
            with self.project.busy[reader]:
                if not self._submit(reader, chance, session):
                    return

    def _submit(self, reader: int, chance: random.Random, session: requests.Session) -> bool:
        """One label; false if the server is gone."""
        key = chance.choice(self.project.ids[reader::READERS]), chance.choice(self.tags)
        content, mark = _label(chance, self.project.affines[key[0]]), f"{reader}-{time.time_ns()}"
        sent = hashlib.sha256(content).hexdigest(), mark
        self.project.sent[key] = sent
        params = {"label_info": NAMED, "client_id": f"reader-{reader}", "mark": mark}
        try:
            answer = session.put(
                f"{self.server.url}/datastore/label", params={"image": key[0], "tag": key[1]},
                data={"params": json.dumps(params)}, files={"label": ("label.nii.gz", content)}, timeout=PATIENCE,
            )  # fmt: skip
        except requests.RequestException:
            return False  # the server was killed
        if answer.status_code != 200:
            self.project.refused.append(f"{answer.status_code} {answer.text}")
            return True
        self.project.taken[key].append(sent)
        self.project.sent.pop(key)
        self.taken += 1
        return True


def _label(chance: random.Random, affine: np.ndarray) -> bytes:
    """A label like no other, on the grid of a phantom."""
    array = np.zeros(SHAPE, dtype=np.uint8)
    array[4:12, 5:15, 3:9] = 1
    array.flat[[chance.randrange(array.size) for _ in range(40)]] = 2
    return gzip.compress(nib.Nifti1Image(array, affine).to_bytes(), 1)


def _loads(file: Path) -> bool:
    try:
        Model.load(file)
    except SemisegError:
        return not file.exists()  # an old version may go in this moment
    return True


def _opens(file: Path) -> bool:
    try:
        with contextlib.closing(sqlite3.connect(file, timeout=PATIENCE)) as store:
            return store.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok"
    except sqlite3.DatabaseError:
        return False


def _is_json(file: Path) -> bool:
    try:
        return isinstance(json.loads(file.read_text()), dict)
    except ValueError:
        return False


def _wait(true: Any, sentence: str) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, sentence
        time.sleep(0.05)
