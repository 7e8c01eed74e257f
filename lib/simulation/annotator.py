"""The simulated annotator: rounds of choosing, labelling and training on studies whose labels are known already.

Choosing, training and scoring are what the server does, by the same functions; only the reader is played: a label that
was hidden is shown. So a strategy can be compared with others before a single hour of labelling is spent on it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.config import Config
from lib.errors import ConfigError, SemisegError
from lib.inference.evaluation import evaluate, summary
from lib.inference.segmenter import Segmenter
from lib.selection.choose import choose_batch
from lib.selection.scoring import describe_studies, score_studies
from lib.selection.store import ScoreStore
from lib.studies.cases import Case
from lib.studies.labels import LabelMap
from lib.training.model_folder import ModelFolder
from lib.training.progress import Listener
from lib.training.start import ELSEWHERE
from lib.training.train import train

ALL = 1e6  # minutes: a simulation scores every study, however long it takes


@dataclass(frozen=True)
class Round:
    """After one round: the labelled studies in the order of their choice, and how good the model is on judged ones.

    ``dice`` is the mean over classes and studies, ``cases`` the mean over the classes of each study.
    """

    labelled: list[str]
    dice: float
    cases: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Player:
    """What all simulations of a comparison have in common.

    Attributes:
        pool: studies with labels, which are hidden at first. judged: others with labels, which nobody learns from.
        config: of each training; the strategy and the seed come from the simulation.
    """

    pool: Sequence[Case]
    judged: Sequence[Case]
    labels: LabelMap
    config: Config

    def play(
        self,
        strategy: str,
        seed: int,
        rounds: int,
        per_round: int,
        folder: Path,
        progress: Listener | None = None,
        told: Callable[[Round], None] = lambda _: None,
    ) -> list[Round]:
        """Simulate; rounds that an earlier, interrupted call has finished are not played again.

        Args:
            folder: for the model, the scores and ``rounds.json``; of this strategy and seed alone.
            told: each round when it is known.

        Raises:
            ConfigError: more labels are asked for than there are studies, or the folder is of another simulation.
            SemisegError: a training cannot go on, or a judged study cannot be read.
        """
        if rounds * per_round > len(self.pool):
            asked = f"{rounds} rounds of {per_round}"
            raise ConfigError(f"{asked} need {rounds * per_round} studies with labels, and there are {len(self.pool)}")
        config = self.config.replace(strategy=strategy, seed=seed, model="")
        project, state = ModelFolder(folder), State(folder / "rounds.json", self._question(config, per_round))
        done = state.rounds
        for _ in range(len(done), rounds):
            labelled = done[-1].labelled if done else []
            chosen = self.choose(project, config, labelled, per_round)
            done.append(self._learn(project, config, [*labelled, *chosen], progress))
            state.write(done)
            told(done[-1])
        shutil.rmtree(project.cache, ignore_errors=True)
        return done

    def choose(self, project: ModelFolder, config: Config, labelled: Sequence[str], count: int) -> list[str]:
        """What the strategy names, by what the last model has found; nothing else of the hidden labels is used."""
        project.path.mkdir(parents=True, exist_ok=True)
        store, model = ScoreStore(project.scores), None
        cases = self._seen(labelled)
        if project.live:
            segmenter = Segmenter.load(project.live, config.device)
            score_studies(segmenter, cases, store, ALL)
            model = segmenter.checksum
        else:
            describe_studies(cases, store, ALL)
        left = [case.id for case in cases if case.id not in set(labelled)]
        seed = config.seed * 1009 + len(labelled)
        return [choice.id for choice in choose_batch(config.strategy, left, store, model, seed, count, labelled)]

    def _learn(self, project: ModelFolder, config: Config, labelled: list[str], progress: Listener | None) -> Round:
        train(self._seen(labelled), self.labels, config, project, progress)
        assert project.live is not None
        found, skipped = evaluate(Segmenter.load(project.live, config.device), self.judged, self.labels)
        if skipped:
            raise SemisegError(f"Not everything can be judged. {' '.join(skipped.values())}")
        means = {each.id: sum(each.dice.values()) / len(each.dice) for each in found}
        return Round(labelled, summary(found)["dice"]["mean"], means)

    def _seen(self, labelled: Sequence[str]) -> list[Case]:
        """The pool as the server would see it now."""
        return [case if case.id in set(labelled) else dataclasses.replace(case, label=None) for case in self.pool]

    def _question(self, config: Config, per_round: int) -> str:
        """Another text for another simulation, whose rounds must not be taken for this one's."""
        settings = {key: value for key, value in config.to_dict().items() if key not in ELSEWHERE}
        parts = [
            settings,
            config.strategy,
            per_round,
            *([case.id for case in side] for side in (self.pool, self.judged)),
        ]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


class State:
    """The rounds that are done, in a file that is replaced in one step.

    Raises:
        ConfigError: the file is of another simulation.
    """

    def __init__(self, file: Path, question: str) -> None:
        self.file, self.question = file, question
        self.rounds: list[Round] = []
        if file.is_file():
            known: dict[str, Any] = json.loads(file.read_text())
            if known["question"] != question:
                raise ConfigError(f"{file} is of a simulation with other settings or studies; name another folder")
            self.rounds = read_rounds(file)

    def write(self, rounds: Sequence[Round]) -> None:
        """Keep these rounds."""
        draft = self.file.with_suffix(".draft")
        draft.write_text(json.dumps({"question": self.question, "rounds": list(map(dataclasses.asdict, rounds))}))
        draft.replace(self.file)


def read_rounds(file: Path) -> list[Round]:
    """The rounds in a ``rounds.json``, of whatever simulation it is."""
    return [Round(**each) for each in json.loads(file.read_text())["rounds"]]
