"""One run of ``benchmarks/accuracy.py`` in its own process: train a method on a set, judge it, write the result."""

from __future__ import annotations

import json
import logging
import resource
import shutil
import sys
import time
import warnings
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.protocols import CEILING, COMMON, JUDGED, PROTOCOLS, UNLABELLED
from benchmarks.sets import DataSet, load_set, one_series
from lib.command_line import HARMLESS
from lib.config import Config
from lib.device import pick_device
from lib.errors import SemisegError
from lib.inference.evaluation import evaluate, summary
from lib.inference.segmenter import Segmentation, Segmenter
from lib.studies.cases import Case
from lib.training.model_folder import ModelFolder
from lib.training.progress import Progress
from lib.training.train import train


@dataclass(frozen=True)
class Job:
    """One training and its judgement.

    Attributes:
        judged: one of ``JUDGED``; the unlabelled studies are those of the training whose evaluation decides.
        series: the one of several modalities that it is trained on alone.
    """

    set: str
    labelled: int
    judged: str
    method: str
    series: str
    conf: dict[str, str]
    iterations: int
    seed: int

    @property
    def name(self) -> str:
        """The method, the series and the settings that are not the protocol's."""
        return ",".join([self.method, *([self.series] if self.series else []), *changes(self.conf)])

    @property
    def title(self) -> str:
        """For whoever watches."""
        return f"{self.set}, {self.labelled} labelled: {self.name}, seed {self.seed}"

    def model_folder(self, results: Path) -> ModelFolder:
        """Of its training, which may be that of another judgement."""
        training = replace(self, judged=JUDGED[0]) if self.judged == UNLABELLED else self
        return ModelFolder(training.folder(results))

    def folder(self, results: Path) -> Path:
        """Where it leaves its ``result.json``; with all labels it does not matter how many are labelled."""
        labelled = "all" if self.method == CEILING else str(self.labelled)
        run = f"{self.name}-{self.iterations}-{self.seed}".replace("/", "_")
        return results / self.set / labelled / self.judged / run

    def config(self, modalities: tuple[str, ...], threads: int) -> Config:
        """The settings of its training."""
        method = "supervised" if self.method == CEILING else self.method
        own = {"method": method, "modalities": modalities, "iterations": self.iterations, "seed": self.seed}
        return Config.from_conf({**COMMON, **PROTOCOLS[self.set].settings, "threads": threads, **self.conf, **own})


def run(job: Job, studies: Path, results: Path, threads: int) -> int:
    """Train, judge, write the result."""
    logging.basicConfig(level=logging.WARNING)
    for message in HARMLESS:
        warnings.filterwarnings("ignore", message)
    data, protocol = load_set(studies, job.set), PROTOCOLS[job.set]
    data = data.of_series(job.series) if job.series else data
    development = protocol.development if job.judged == "development" else 0
    labelled = len(data.patients) if job.method == CEILING else job.labelled
    seen, judged = data.split(labelled, protocol.evaluation, development, protocol.development_unlabelled)
    if job.judged == UNLABELLED:
        hidden = {case.id for case in seen if case.label is None}
        judged = [case for patient in data.patients for case in patient if case.id in hidden]
    folder = job.model_folder(results)
    trained = folder.path / "trained.json"
    try:
        if not trained.is_file():  # else an earlier attempt came as far as that
            values = train_model(job, data, seen, folder, threads)
            trained.write_text(json.dumps(values, indent=1))
        print(f"{job.title}: judging {len(judged)}", file=sys.stderr, flush=True)
        scores = {series: judge(folder, data, cases) for series, cases in by_series(data, judged).items()}
    except SemisegError as error:
        print(f"{job.title}: {error}", file=sys.stderr)
        return 1
    result = {"job": asdict(job), **json.loads(trained.read_text()), "judged": scores}
    own = job.folder(results)
    own.mkdir(parents=True, exist_ok=True)
    draft = own / "result.draft"
    draft.write_text(json.dumps(result, indent=1))
    draft.replace(own / "result.json")
    shutil.rmtree(folder.cache, ignore_errors=True)
    return 0


def train_model(job: Job, data: DataSet, seen: list[Case], folder: ModelFolder, threads: int) -> dict[str, Any]:
    """What the training took: seconds by the clock and of its process on the processor; peak memory.

    The peak of the process that prepares patches is added, although the two share some pages: an upper bound.
    """
    config, lines = job.config(data.modalities, threads), Lines(job.title, folder.path / "processor_seconds")
    result = train(seen, data.labels, config, folder, lines)
    manifest = json.loads(result.manifest.read_text())
    if manifest["skipped"]:
        raise SemisegError(f"Not everything could be learnt from. {' '.join(manifest['skipped'].values())}")
    own, helper = (resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {
        "seconds": manifest["seconds"]["training"] + manifest.get("pretraining", {}).get("seconds", 0.0),
        "processor_seconds": lines.processor_seconds,
        "peak_memory_mb": own + helper,
        "memory_mb": {"training": own, "helper": helper},
        "device": torch.cuda.get_device_name() if pick_device(config.device).type == "cuda" else "CPU",
        "day": time.strftime("%Y-%m-%d"),
        "environment": manifest["environment"],
        "manifest": str(result.manifest),
    }


def by_series(data: DataSet, judged: list[Case]) -> dict[str, list[Case]]:
    """The judged cases, once for each modality, which is then the only one that the model sees."""
    if not data.modalities:
        return {"": judged}
    return {name: [one_series(case, name) for case in judged] for name in data.modalities}


def judge(folder: ModelFolder, data: DataSet, judged: list[Case]) -> dict[str, Any]:
    """Dice and HD95 of the published model on the judged cases, on their own grid.

    As it is served, with the mean of its networks, and with the first network alone, because two networks are more than
    the one they are compared with.
    """
    assert folder.live is not None
    segmenter = Segmenter.load(folder.live)

    def first_network(image: Path) -> Segmentation:
        shown = segmenter.modality(image)
        volume, geometry = segmenter.preprocess.image(image, shown)
        label = segmenter.label(segmenter.infer(volume, shown)[:1], geometry)
        return Segmentation(label, None, geometry.affine, {}, segmenter.version)

    evaluations, skipped = evaluate(segmenter, judged, data.labels)
    if skipped:
        raise SemisegError(f"Not everything can be judged. {' '.join(skipped.values())}")
    several = len(segmenter.predict(judged[0].image)) > 1
    alone = evaluate(first_network, judged, data.labels)[0] if several else evaluations
    means = summary(evaluations)
    return {
        "dice": means["dice"]["mean"],
        "hd95": means["hd95"]["mean"],
        "missed": means["missed"],
        "dice_one_network": summary(alone)["dice"]["mean"],
        "cases": [each.to_dict() for each in evaluations],
    }


def changes(conf: dict[str, str]) -> list[str]:
    """``key=value`` in alphabetical order."""
    return [f"{key}={value}" for key, value in sorted(conf.items())]


class Lines:
    """Progress as a line a minute: bars of two processes would overwrite each other.

    Args:
        file: keeps the processor seconds so far, so that those of an interrupted attempt count.
    """

    def __init__(self, title: str, file: Path) -> None:
        self.title, self.file, self.last = title, file, time.monotonic()
        self.before = float(file.read_text()) if file.is_file() else 0.0

    @property
    def processor_seconds(self) -> float:
        """Of this process and of the attempts before it."""
        return round(self.before + time.process_time(), 1)

    def __call__(self, now: Progress) -> None:
        """Show this moment, if it is time."""
        if time.monotonic() - self.last >= 60 or now.stage == "ended":
            self.last = time.monotonic()
            self.file.write_text(str(self.processor_seconds))
            losses = "  ".join(f"{name} {value:.3f}" for name, value in now.losses.items())
            print(f"{self.title}: {now.stage} {now.step}/{now.total}  {losses}", file=sys.stderr, flush=True)
