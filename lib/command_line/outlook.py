"""What the next labels would bring."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from lib.command_line.output import tell
from lib.command_line.project import project_folder
from lib.command_line.statuses import DONE
from lib.config import Config
from lib.inference.model_file import Model
from lib.selection.outlook import outlook
from lib.selection.store import ScoreStore
from lib.studies.modalities import project_cases
from lib.training.rounds import learning_curve


def run_outlook(options: argparse.Namespace, config: Config) -> int:
    """By the trainings so far and the scores of the live model; nothing is computed of any study."""
    folder = project_folder(options, config)
    scores: dict[str, float] = {}
    if folder.live:
        scores = ScoreStore(folder.scores).get(Model.load(folder.live).checksum)
    labelled = {case.id for case in project_cases(options.studies, config.modalities) if case.label}
    found = outlook(learning_curve(folder), options.more, scores, labelled)
    tell(options, asdict(found), found.reason)
    return DONE
