"""``report``: the report of a training, written again; by default that of the latest one."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import json
from pathlib import Path

from lib.command_line.output import tell
from lib.command_line.project import project_folder
from lib.command_line.statuses import DONE
from lib.config import Config
from lib.device import limit_threads
from lib.errors import NotFoundError
from lib.inference.model_file import Model
from lib.report.write import write_report
from lib.studies.modalities import project_cases
from lib.training.model_folder import MANIFEST, ModelFolder


def run_report(options: argparse.Namespace, config: Config) -> int:
    """Write the report of a run; its pictures are drawn anew if the version that it published is still kept."""
    limit_threads(config)
    folder = project_folder(options, config)
    run = chosen_run(folder, options.run)
    model = _model(folder, run, config)
    cases = [case for case in project_cases(options.studies, config.modalities) if case.label]
    file = str(write_report(run, model, cases))
    tell(options, {"report": file}, file)
    return DONE


def chosen_run(folder: ModelFolder, name: str | None) -> Path:
    """The folder of this run, of none named that of the latest one.

    Raises:
        NotFoundError: there is no such run, or none at all.
    """
    runs = {file.parent.name: file.parent for file in folder.manifests}
    if not runs:
        raise NotFoundError(f"There is no training in {folder.runs} yet; train first")
    if name is None:
        return runs[max(runs)]
    if name not in runs:
        near = difflib.get_close_matches(name, runs, n=1) or [max(runs)]
        raise NotFoundError(f"There is no training '{name}' in {folder.runs}; did you mean '{near[0]}'?")
    return runs[name]


def _model(folder: ModelFolder, run: Path, config: Config) -> Model | None:
    """What the run published, for the device of the settings; None if it is not kept."""
    try:
        version = json.loads((run / MANIFEST).read_text()).get("version")
    except (ValueError, AttributeError):
        return None  # write_report says what is wrong with the manifest
    if version not in folder.versions():
        return None
    model = Model.load(folder.path / "versions" / f"{version}.pt")
    return dataclasses.replace(model, config=model.config.replace(device=config.device, precision="auto"))
