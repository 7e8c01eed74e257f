"""Look at the studies beforehand, so that choosing the next one is a look-up; under ``torchrun`` by several processes.

The processes of one machine write the same store: SQLite locks it among them, but not among machines.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from lib.command_line.output import tell
from lib.command_line.project import project_folder, published, study_bar, together
from lib.command_line.statuses import DONE
from lib.config import Config
from lib.errors import ConfigError
from lib.inference.segmenter import Segmenter
from lib.selection.scoring import describe_studies, score_studies
from lib.selection.store import FEATURES, ScoreStore
from lib.studies.cases import Case
from lib.studies.modalities import one_series_each, project_cases
from lib.training.distribution import first, summed


def run_score(options: argparse.Namespace, config: Config) -> int:
    """Score what the live model has not seen, or before any model take the studies' features."""
    if os.environ.get("GROUP_RANK", "0") != "0":
        raise ConfigError("Scores go into one file, which several machines cannot share: use the GPUs of one machine")
    with together(config) as (own, share):
        segmenter = published(options, own) if project_folder(options, config).live else None
        waiting, labelled = waiting_and_labelled(options, config, segmenter)
        store, cases = open_store(options, config), [*labelled, *waiting]
        done = summed(look(cases, segmenter, store, config, share))
        left = store.missing([case.id for case in cases], segmenter.checksum if segmenter else FEATURES)
        if first():
            what = f"scored by model {segmenter.version}" if segmenter else "described, as there is no model yet"
            words = f"{done:.0f} of {len(cases)} studies were {what}."
            if left:
                time = f"the time ended (--score-minutes {config.score_minutes:g})"
                words += f"\n{len(left)} are left: {time}. Run it again."
            version = segmenter.version if segmenter else None
            tell(options, {"version": version, "done": int(done), "studies": len(cases), "left": sorted(left)}, words)
        return DONE


def waiting_and_labelled(
    options: argparse.Namespace, config: Config, segmenter: Segmenter | None
) -> tuple[list[Case], list[Case]]:
    """The studies without a label and those with one, of a patient one series, the strongest of the model."""
    cases = project_cases(options.studies, config.modalities)
    strength = segmenter.strength if segmenter else {}
    waiting, labelled = (
        one_series_each([case for case in cases if bool(case.label) is wanted], strength) for wanted in (False, True)
    )
    return waiting, labelled


def look(
    cases: Sequence[Case],
    segmenter: Segmenter | None,
    store: ScoreStore,
    config: Config,
    share: tuple[int, int] = (0, 1),
) -> int:
    """Score them by this model, or without one take their features, within ``score_minutes``; how many were done."""
    with study_bar("score" if segmenter else "describe") as progress:
        if segmenter:
            return score_studies(segmenter, cases, store, config.score_minutes, progress=progress, share=share)
        return describe_studies(cases, store, config.score_minutes, progress=progress, share=share)


def open_store(options: argparse.Namespace, config: Config) -> ScoreStore:
    """The store of the project that the settings name."""
    folder = project_folder(options, config)
    folder.path.mkdir(parents=True, exist_ok=True)
    return ScoreStore(folder.scores)
