"""``labels``: which labels of a study were kept, and going back to one of them."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np

from lib.access.audit import AuditLog, operator
from lib.command_line.output import tell
from lib.command_line.project import project_folder
from lib.command_line.statuses import DONE
from lib.config import Config
from lib.dicom.studies import DicomStudies
from lib.dicom.web import DicomWeb
from lib.errors import ConfigError, NotFoundError
from lib.studies.cases import final_labels
from lib.studies.label_history import Kept, LabelHistory, restore
from lib.studies.reading import read_volume

FINAL = "final"


def run_labels(options: argparse.Namespace, config: Config) -> int:
    """List the kept labels of one study, or of all; or make one of them the label that counts."""
    remote = "://" in str(options.studies)
    labels = (project_folder(options, config).mirror if remote else Path(options.studies)) / "labels"
    history = LabelHistory(labels, config.keep_labels)
    if not remote and not labels.parent.is_dir():
        raise NotFoundError(f"The studies folder {labels.parent} does not exist")
    if options.restore and not options.study:
        raise ConfigError("--restore needs --study: the name of a kept label stands for one study only")
    if options.restore:
        old = history.get(options.study, FINAL, options.restore)
        kept = _restore_remote(options, config, history, old) if remote else restore(labels.parent, history, *_key(old))
        AuditLog(project_folder(options, config).path).write(
            "label restored", operator(), "command line", study=options.study, label=options.restore
        )
        words = f"The label of {old.time:%Y-%m-%d %H:%M:%S} UTC by {old.who} counts again, as {kept.stamp}."
        tell(options, _about(kept, True), words)
    elif options.study:
        _list(history, labels, options)
    else:
        counts = {study: len(history.all(study, options.tag)) for study in sorted(history.studies(options.tag))}
        words = "\n".join(f"{study:<40}{count:>5} kept" for study, count in counts.items())
        tell(options, [{"study": study, "kept": count} for study, count in counts.items()], words)
    return DONE


def _list(history: LabelHistory, labels: Path, options: argparse.Namespace) -> None:
    kept = history.all(options.study, options.tag)
    if not kept:
        raise NotFoundError(f"No {options.tag} label of study '{options.study}' was kept")
    present = final_labels(labels.parent).get(options.study) if options.tag == FINAL else None
    now = history.find(options.study, FINAL, present, history.newest(options.study, FINAL)) if present else None
    found = [_about(label, now is not None and now.stamp == label.stamp) for label in kept]
    lines = [
        f"{label.stamp:<48}{label.time:%Y-%m-%d %H:%M:%S} UTC   {label.who:<20}{'counts now' if each['counts'] else ''}"
        for label, each in zip(kept, found, strict=True)
    ]
    tell(options, found, "\n".join(lines))


def _about(label: Kept, counts: bool) -> dict[str, Any]:
    """For scripts."""
    return {"name": label.stamp, "time": label.time.isoformat(), "who": label.who, "counts": counts}


def _restore_remote(options: argparse.Namespace, config: Config, history: LabelHistory, old: Kept) -> Kept:
    """By the way of every label to a DICOM server: it is stored there as a new object, now or when it answers again."""
    user, password = (os.environ.get(f"MONAI_LABEL_DICOMWEB_{name}", "") for name in ("USERNAME", "PASSWORD"))
    folder = project_folder(options, config).mirror
    studies = DicomStudies(DicomWeb(str(options.studies).rstrip("/"), user, password), config, folder)
    array, affine = read_volume(old.file)
    kept = history.put(old.study, FINAL, old.file, ".nii.gz", {**old.info, "restored": old.stamp}, old.who)
    names = {int(value): name for value, name in old.info["names"].items()}
    studies.take(kept, array.astype(np.uint8), affine, names, creator=old.who)
    studies.now()
    studies.outbox.send(studies.known().series, at_once=True)
    return kept


def _key(kept: Kept) -> tuple[str, str]:
    return kept.study, kept.stamp
