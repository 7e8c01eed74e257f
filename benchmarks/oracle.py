"""The best informed reader, to compare strategies with: one who knows how well the model segments each study."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from lib.config import Config
from lib.inference.evaluation import evaluate
from lib.inference.segmenter import Segmenter
from lib.simulation.annotator import Player
from lib.training.model_folder import ModelFolder


class Oracle(Player):
    """Labels next what the model segments worst, by the true Dice.

    No strategy can know that; scores of uncertainty estimate it. What this reader does not gain over chance, no score
    that finds the worst studies will. The first studies are those of the strategy that it plays with.
    """

    def choose(self, project: ModelFolder, config: Config, labelled: Sequence[str], count: int) -> list[str]:
        """The studies without a label with the lowest mean Dice over the classes; those that fail come first."""
        if not project.live:
            return super().choose(project, config, labelled, count)
        left = [case for case in self.pool if case.id not in set(labelled)]
        found, skipped = evaluate(Segmenter.load(project.live, config.device), left, self.labels)
        worst = sorted(found, key=lambda each: fmean(each.dice.values()))
        return [*skipped, *(each.id for each in worst)][:count]
