"""Scoring the live model against submitted labels, and the unlabelled studies for the next choice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lib.config import Config
from lib.errors import NotReadyError
from lib.selection.store import ScoreStore
from lib.server.cases import FINAL, case_of
from lib.server.datastore import FolderDatastore
from lib.server.live import LiveModel
from lib.server.scoring import DiceScoring, UncertaintyScoring, give_way
from lib.server.train_stats import TrainStats
from lib.studies.reading import read_volume
from lib.training.model_folder import ModelFolder


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Dice 1945: twice the intersection over the sum of the sizes."""
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def test_dice_of_the_live_model_is_answered_and_kept_with_the_label(
    live: LiveModel, folder: ModelFolder, datastore: FolderDatastore, publish: Callable[..., str]
) -> None:
    publish()
    folder.split.assign([case_of(datastore, study) for study in datastore.list_images()], validation=0.4)
    sides = folder.split.sides
    answer = DiceScoring(live, folder)({}, datastore)
    assert set(answer["studies"]) == {"phantom_000", "phantom_001", "phantom_002"}
    for study, scores in answer["studies"].items():
        case = case_of(datastore, study)
        assert case.label is not None
        truth = read_volume(case.label)[0]
        with live.use() as segmenter:
            found = segmenter(case.image).label
        for name, value in (("organ", 1), ("lesion", 2)):
            assert scores["dice"][name] == pytest.approx(overlap(found == value, truth == value))
        assert scores["side"] == sides[study]
        assert datastore.get_label_info(study, FINAL)["dice"] == scores
    assert set(answer["mean"]) == set(sides.values())
    assert sum(each["studies"] for each in answer["mean"].values()) == 3


def test_a_label_that_cannot_be_used_is_named_and_ends_nothing(
    live: LiveModel, folder: ModelFolder, datastore: FolderDatastore, publish: Callable[..., str]
) -> None:
    publish()
    Path(datastore.get_label_uri("phantom_001", FINAL)).write_bytes(b"garbage")
    answer = DiceScoring(live, folder)({}, datastore)
    assert set(answer["studies"]) == {"phantom_000", "phantom_002"}
    assert "phantom_001" in answer["skipped"]["phantom_001"]


def test_the_unlabelled_studies_get_scores_by_the_live_model(
    live: LiveModel, folder: ModelFolder, datastore: FolderDatastore, publish: Callable[..., str], config: Config
) -> None:
    publish()
    scores, stats = ScoreStore(folder.scores), TrainStats(folder)
    task = UncertaintyScoring(live, scores, config, stats)
    with folder.lock("training"):  # a training has begun: its model will need other scores
        assert task({}, datastore) == {"version": "0001", "scored": 0}
    assert task({}, datastore) == {"version": "0001", "scored": 6}
    model = live.loaded()
    assert model is not None
    assert set(scores.get(model.checksum)) == {f"phantom_00{number}" for number in range(6)}, (
        "labelled ones, to compare"
    )
    assert task({}, datastore)["scored"] == 0


def test_without_a_model_there_is_nothing_to_score(
    live: LiveModel, folder: ModelFolder, datastore: FolderDatastore, config: Config
) -> None:
    stats = TrainStats(folder)
    for task in (DiceScoring(live, folder), UncertaintyScoring(live, ScoreStore(folder.scores), config, stats)):
        assert task.info()["config"] == {}
        with pytest.raises(NotReadyError, match="no model yet"):
            task({}, datastore)


@pytest.mark.parametrize(
    ("program", "expected"),
    [("/python/monailabel/interfaces/utils/app.py", [19]), ("/python/monailabel/main.py", []), ("app.py", [])],
)
def test_only_a_process_of_its_own_gives_way(
    program: str, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[int] = []
    monkeypatch.setattr("sys.argv", [program, "-m", "scoring"])
    monkeypatch.setattr("os.setpriority", lambda which, who, priority: given.append(priority))
    give_way()
    assert given == expected
