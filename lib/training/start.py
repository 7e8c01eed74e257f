"""Where a training starts from: an interrupted run, the live model, or nothing."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from lib.config import Config
from lib.errors import SemisegError
from lib.inference.model_file import Model
from lib.methods.base import Method
from lib.methods.registry import build_method
from lib.studies.cases import Case
from lib.studies.labels import LabelMap
from lib.studies.plan import Plan
from lib.training.manifest import Manifest
from lib.training.model_folder import ModelFolder
from lib.training.run import PRETRAINING, latest_checkpoint

log = logging.getLogger(__name__)

# settings that change where and how a training runs, not what comes out of it
ELSEWHERE = (
    "device",
    "threads",
    "workers",
    "cache_gb",
    "mirror_gb",
    "codes",
    "colours",
    "score_minutes",
    "tracking",
    "model",
    "strategy",
    "publish",
    "keep_versions",
    "keep_labels",
    "stop_seconds",
)


def live_model(folder: ModelFolder, config: Config, labels: LabelMap) -> Model | None:
    """The live model, if a training with these settings may go on from it: same network, plan and classes."""
    if not (config.pretrained and folder.live):
        return None
    try:
        model = Model.load(folder.live)
        model.build()  # its settings may be the same and its network that of an earlier semiseg
    except SemisegError as error:
        log.warning("Starting from nothing: %s", error)
        return None
    changed = [name for name in ("network", "size") if getattr(config, name) != getattr(model.config, name)]
    changed += model.plan.differences(config)
    changed += ["set of classes"] if labels.names != model.labels.names else []
    if changed:
        log.warning("Starting from nothing: the live model has another %s", " and ".join(changed))
    return None if changed else model


def initial_method(config: Config, classes: int, plan: Plan, base: Model | None) -> Method:
    """The method with the base model's weights where their names fit; a branch it lacks starts from nothing."""
    method = build_method(config, plan.channels, classes, plan.network_patch)
    if base:
        # parameters have one name each: of branches that share an encoder it is the first one's, as its decoder is
        own = dict(method.networks.named_parameters()) | dict(method.networks.named_buffers())
        given = base.of_networks
        fitting = {key: value for key, value in given.items() if key in own and own[key].shape == value.shape}
        if len(fitting) < len(own):
            log.info("%d of %d tensors are new to the live model", len(own) - len(fitting), len(own))
        method.networks.load_state_dict(fitting, strict=False)
    return method


def signature(config: Config, labels: LabelMap, cases: Sequence[Case]) -> str:
    """Equal for two trainings that would do the same."""
    settings = {key: value for key, value in config.to_dict().items() if key not in ELSEWHERE}
    files = sorted(
        (
            case.id,
            f"{case.version} {case.label_version}".strip()
            or (case.label.stat().st_mtime_ns if case.label and case.label.exists() else 0),
        )
        for case in cases
    )
    text = json.dumps([settings, sorted(labels.values.items()), files])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def interrupted_run(folder: ModelFolder, sign: str) -> Path | None:
    """The latest run of this signature that has a checkpoint and did not come to its end."""
    for file in reversed(folder.manifests):
        values = Manifest(file.parent).values
        unfinished = values.get("status") in ("running", "interrupted", "stopped")
        places = (file.parent, file.parent / PRETRAINING)
        if values.get("signature") == sign and unfinished and any(map(latest_checkpoint, places)):
            return file.parent
    return None


def new_run(runs: Path, method: str) -> Path:
    """The folder of a run that begins now; two of the same second get two folders."""
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{method}"
    names = (name if number == 1 else f"{name}-{number}" for number in count(1))
    return next(runs / each for each in names if not (runs / each).exists())
