"""``export``: what a project has made, for other programs."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from typing import Any

from lib.command_line.output import tell
from lib.command_line.project import published_file, study_bar
from lib.command_line.statuses import DONE, FAILED
from lib.config import Config
from lib.device import limit_threads
from lib.errors import ConfigError
from lib.export.bundle import export_bundle
from lib.export.dataset import Exported, export_dataset
from lib.export.network import export_torchscript
from lib.inference.model_file import Model
from lib.studies.labels import label_map
from lib.studies.modalities import project_cases


def run_export(options: argparse.Namespace, config: Config) -> int:
    """Write what is asked for, the model first."""
    targets = [(options.bundle, export_bundle), (options.torchscript, export_torchscript)]
    wanted = [(target, write) for target, write in targets if target]
    if not (wanted or options.dataset):
        raise ConfigError(
            "Say what to export: --bundle DIR or --torchscript FILE for the model, --dataset DIR for the labels"
        )
    if wanted:
        limit_threads(config)
        model = Model.load(published_file(options, config))
    found: list[dict[str, Any]] = []
    for target, write in wanted:
        difference = write(model, target, options.series)
        kind = "bundle" if write is export_bundle else "torchscript"
        found.append({"kind": kind, "path": str(target), "version": model.version, "difference": difference})
        if not options.json:
            print(f"Model {model.version} is in {target}; its probabilities differ by {difference:.2g} at most.")
    done = _dataset(options, config) if options.dataset else Exported()
    if options.dataset:
        found.append({"kind": "dataset", "path": str(options.dataset), **asdict(done)})
    if options.json:
        tell(options, found, "")
    for sentence in done.skipped.values():
        print(sentence, file=sys.stderr)
    return FAILED if done.skipped else DONE


def _dataset(options: argparse.Namespace, config: Config) -> Exported:
    cases = project_cases(options.studies, config.modalities)
    labels = label_map(config, options.studies, cases)
    with study_bar("export") as progress:
        done = export_dataset(
            cases, labels, config, options.dataset, options.series, options.unlabelled, progress
        )  # fmt: skip
    unlabelled = f" and {len(done.test)} without a label" if options.unlabelled else ""
    if not options.json:
        print(f"{len(done.training)} labelled studies{unlabelled} are in {options.dataset}.")
    return done
