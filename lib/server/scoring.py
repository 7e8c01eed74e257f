"""Scoring methods: how good the live model is on submitted labels, and how sure it is of unlabelled studies."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.scoring import ScoringMethod

from lib.config import Config
from lib.inference.evaluation import Evaluation, evaluate, summary
from lib.selection.scoring import score_studies
from lib.selection.store import ScoreStore
from lib.server.cases import FINAL, labelled_cases, worklist
from lib.server.live import LiveModel
from lib.server.train_stats import TrainStats
from lib.studies.cases import UNLABELLED, study_id
from lib.training.model_folder import ModelFolder

logger = logging.getLogger(__name__)

TASK = ("interfaces", "utils", "app.py")  # the end of the program that MONAI Label starts for a task
LAST = 19  # of the priorities of Linux


class DiceScoring(ScoringMethod):
    """The live model against the submitted labels, study by study.

    The answer, and the info of each label under ``dice``: Dice and HD95 (mm) by class, the model's ``version``, and
    the ``side`` of the study. A model has learnt from the studies of the training side, so only the mean of the
    validation side says how good it is on others. Of a patient with several series the labelled one is scored.
    """

    def __init__(self, live: LiveModel, folder: ModelFolder, modalities: Sequence[str] = ()) -> None:
        super().__init__("Dice and HD95 of the live model against the submitted labels")
        self.live, self.folder, self.modalities = live, folder, modalities

    def info(self) -> dict[str, Any]:
        """As ``/info/`` shows it."""
        return super().info() | {"config": {}}

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Score all labelled studies.

        Returns:
            ``version``, ``studies`` (id -> scores), ``mean`` (side -> means) and ``skipped`` (id -> cause).

        Raises:
            NotReadyError: no model was published yet.
        """
        cases = labelled_cases(datastore, self.modalities)
        labels = {case.id: study_id(case.label) for case in cases if case.label}
        segmenter = self.live.apart()
        done, skipped = evaluate(segmenter, cases, segmenter.labels)
        version = segmenter.version
        sides = self.folder.split.sides
        studies = {}
        for each in done:
            studies[each.id] = each.to_dict() | {"version": version, "side": sides.get(each.id, UNLABELLED)}
            if datastore.get_label_by_image_id(labels[each.id], FINAL):  # not one under the id of a patient
                datastore.update_label_info(labels[each.id], FINAL, {"dice": studies[each.id]})
        for cause in skipped.values():
            logger.warning("Not scored: %s", cause)
        return {"version": version, "studies": studies, "mean": _means(done, sides), "skipped": skipped}


class UncertaintyScoring(ScoringMethod):
    """Scores the unlabelled studies for the strategy of that name; each training starts it when it has ended."""

    def __init__(self, live: LiveModel, scores: ScoreStore, config: Config, stats: TrainStats) -> None:
        super().__init__("How unsure the live model is of each unlabelled study, for the choice of the next one")
        self.live, self.scores, self.settings, self.training = live, scores, config, stats

    def info(self) -> dict[str, Any]:
        """As ``/info/`` shows it."""
        return super().info() | {"config": {}}

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Score within ``score_minutes``, until a new training begins.

        Returns:
            ``version`` of the model and how many studies were ``scored`` now.

        Raises:
            NotReadyError: no model was published yet.
        """
        give_way()
        segmenter = self.live.apart()
        waiting, labelled = worklist(datastore, self.settings.modalities, segmenter.strength)
        cases = [*labelled, *waiting]  # those that are labelled, too: others are to be unlike them
        scored = score_studies(segmenter, cases, self.scores, self.settings.score_minutes, self.training.locked)
        return {"version": segmenter.version, "scored": scored}


def give_way() -> None:
    """In a task's own process, take only what others leave of the processor: a reader's inference comes first."""
    if Path(sys.argv[0]).parts[-len(TASK) :] == TASK:
        os.setpriority(os.PRIO_PROCESS, 0, LAST)


def _means(done: Sequence[Evaluation], sides: Mapping[str, str]) -> dict[str, Any]:
    """Side -> means over its studies; labelled since the last training: on no side yet."""
    found: dict[str, list[Evaluation]] = {}
    for each in done:
        found.setdefault(sides.get(each.id, UNLABELLED), []).append(each)
    return {side: summary(each) for side, each in sorted(found.items())}
