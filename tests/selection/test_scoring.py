"""The background scoring with a model that answers from a table: budget, stop, resume, bad studies."""

import logging
from pathlib import Path

import pytest
import torch

from lib.config import Config
from lib.errors import StudyError
from lib.inference.segmenter import Segmenter
from lib.methods.registry import build_method
from lib.selection import scoring
from lib.selection.score import score_case
from lib.selection.scoring import score_studies
from lib.selection.store import ScoreStore
from lib.studies.cases import Case, find_cases
from lib.studies.labels import LabelMap
from lib.studies.plan import Plan


class Model:
    """Two branches that differ by the number in the study's name: ``study-30`` has the score 0.30."""

    def __init__(self, checksum: str = "m", broken: tuple[str, ...] = ()) -> None:
        self.checksum, self.broken, self.asked = checksum, broken, []

    def predict(self, image: Path) -> torch.Tensor:
        self.asked.append(image.stem)
        if image.stem in self.broken:
            raise StudyError(image.stem, "it is truncated", "Replace the file")
        gap = float(image.stem.split("-")[1]) / 100
        one, other = torch.tensor([0.0, 1.0]), torch.tensor([gap, 1 - gap])
        return torch.stack([one, other])[:, :, None, None, None].expand(2, 2, 4, 4, 4)


def cases(*numbers: object) -> list[Case]:
    return [Case(f"study-{number}", Path(f"study-{number}.nii")) for number in numbers]


@pytest.fixture
def store(tmp_path: Path) -> ScoreStore:
    return ScoreStore(tmp_path / "scores.sqlite")


def test_every_study_gets_its_score(store: ScoreStore):
    steps: list[tuple[int, int]] = []
    count = score_studies(Model(), cases(10, 20, 30), store, 1, progress=lambda done, of: steps.append((done, of)))
    assert count == 3
    assert store.get("m") == pytest.approx({"study-10": 0.1, "study-20": 0.2, "study-30": 0.3})
    assert steps == [(1, 3), (2, 3), (3, 3)]
    fields = store.row("study-30", "m").fields
    assert fields == {"region": "foreground", "classes": {"1": pytest.approx(0.3)}}


def test_what_was_scored_by_this_model_is_not_scored_again(store: ScoreStore):
    score_studies(Model(), cases(10), store, 1)
    again, new = Model(), Model(checksum="new")
    assert score_studies(again, cases(10, 20), store, 1) == 1
    assert again.asked == ["study-20"]
    assert score_studies(new, cases(10, 20), store, 1) == 2


def test_a_stopped_scoring_goes_on_where_it_ended(store: ScoreStore):
    many, first, second = cases(*range(10, 20)), Model(), Model()
    assert score_studies(first, many, store, 1, should_stop=lambda: len(first.asked) == 4) == 4
    assert len(store.get("m")) == 4
    assert score_studies(second, many, store, 1) == 6
    assert sorted(first.asked + second.asked) == sorted(case.id for case in many)


def test_a_killed_scoring_keeps_what_it_had(store: ScoreStore):
    class Killed(Model):
        def predict(self, image: Path) -> torch.Tensor:
            if len(self.asked) == 2:
                raise KeyboardInterrupt
            return super().predict(image)

    with pytest.raises(KeyboardInterrupt):
        score_studies(Killed(), cases(10, 20, 30), store, 1)
    assert score_studies(Model(), cases(10, 20, 30), store, 1) == 1
    assert len(store.get("m")) == 3


def test_no_study_is_begun_after_the_time(store: ScoreStore, monkeypatch: pytest.MonkeyPatch):
    clock = iter(range(0, 10_000, 10))  # each look at the clock is 10 seconds later
    monkeypatch.setattr(scoring.time, "monotonic", lambda: float(next(clock)))
    # begin at 0, then per study: in time?, start, end -> asked at 10, 40, 70, so two studies fit in one minute
    assert score_studies(Model(), cases(10, 20, 30, 40), store, minutes=1) == 2
    assert score_studies(Model(), cases(10, 20, 30, 40), store, minutes=0) == 0


def test_a_bad_study_is_said_remembered_and_the_others_go_on(store: ScoreStore, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        assert score_studies(Model(broken=("study-20",)), cases(10, 20, 30), store, 1) == 2
    assert "study-20" in caplog.text
    assert "truncated" in caplog.text
    assert "truncated" in store.failures("m")["study-20"]
    assert set(store.get("m")) == {"study-10", "study-30"}
    later = Model(broken=("study-20",))
    assert score_studies(later, cases(10, 20, 30), store, 1) == 0
    assert later.asked == []


def test_a_score_that_is_not_a_number_is_a_failure(store: ScoreStore):
    assert score_studies(Model(), cases(10, "nan"), store, 1) == 1
    assert "not a number" in store.failures("m")["study-nan"]


def test_the_order_is_that_of_the_model_not_of_the_alphabet(store: ScoreStore, tmp_path: Path):
    many, one, other, same = cases(*range(10, 22)), Model("m"), Model("n"), Model("m")
    score_studies(one, many, store, 1)
    score_studies(other, many, store, 1)
    score_studies(same, many[::-1], ScoreStore(tmp_path / "second.sqlite"), 1)
    assert one.asked == same.asked
    assert one.asked != other.asked
    assert one.asked != sorted(one.asked)


def test_a_segmenter_scores_the_studies_of_a_folder(store: ScoreStore, studies: Path):
    config = Config(size="small", device="cpu", overlap=0.0)
    plan = Plan(spacing=(4.0, 4.0, 5.0), modality="mr", patch=(16, 16, 16))
    labels = LabelMap({1: "organ", 2: "lesion"})
    segmenter = Segmenter(build_method(config, 1, 3, plan.patch), plan, labels, config, checksum="untrained")
    waiting = [case for case in find_cases(studies) if not case.label][:2]
    waiting[0].image.write_bytes(waiting[0].image.read_bytes()[:1000])
    assert score_studies(segmenter, waiting, store, 1) == 1
    expected = score_case(segmenter.predict(waiting[1].image)).score
    assert store.get("untrained") == pytest.approx({waiting[1].id: expected})
    assert set(store.failures("untrained")) == {waiting[0].id}
