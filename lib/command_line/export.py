"""``export``: what a project has made, for other programs."""

from __future__ import annotations

import argparse
import sys

from lib.command_line.project import study_bar
from lib.config import Config
from lib.errors import ConfigError
from lib.export.dataset import export_dataset
from lib.studies.labels import label_map
from lib.studies.modalities import project_cases

LEFT_OUT = 2  # exit status where a study could not be used


def run_export(options: argparse.Namespace, config: Config) -> int:
    """Write what is asked for."""
    if not options.dataset:
        raise ConfigError("Say what to export: --dataset DIR")
    return _dataset(options, config)


def _dataset(options: argparse.Namespace, config: Config) -> int:
    cases = project_cases(options.studies, config.modalities)
    labels = label_map(config, options.studies, cases)
    with study_bar("export") as progress:
        done = export_dataset(
            cases, labels, config, options.dataset, options.series, options.unlabelled, progress
        )  # fmt: skip
    unlabelled = f" and {len(done.test)} without a label" if options.unlabelled else ""
    print(f"{len(done.training)} labelled studies{unlabelled} are in {options.dataset}.")
    for sentence in done.skipped.values():
        print(sentence, file=sys.stderr)
    return LEFT_OUT if done.skipped else 0
