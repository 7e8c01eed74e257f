"""The background scoring with a model that answers from a table: order, budget, stop, resume, shares, bad studies."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.config import Config
from lib.errors import StudyAwayError, StudyError
from lib.inference.segmenter import Examination, Segmenter
from lib.methods.registry import build_method
from lib.selection import scoring
from lib.selection.features import study_features
from lib.selection.score import score_case
from lib.selection.scoring import describe_studies, promising_first, score_studies
from lib.selection.store import FEATURES, ScoreStore
from lib.studies.cases import Case, find_cases
from lib.studies.labels import LabelMap
from lib.studies.plan import Plan


class Model:
    """Two branches that differ by the number in the study's name: ``study-30`` has the score 0.30."""

    def __init__(self, checksum: str = "m", broken: tuple[str, ...] = ()) -> None:
        self.checksum, self.broken, self.asked = checksum, broken, []

    def examine(self, image: Path, mirrored: bool = False) -> Examination:
        self.asked.append(image.stem)
        if image.stem in self.broken:
            raise StudyError(image.stem, "it is truncated", "Replace the file")
        gap = float(image.stem.split("-")[1]) / 100
        one, other = torch.tensor([0.0, 1.0]), torch.tensor([gap, 1 - gap])
        probabilities = torch.stack([one, other])[:, :, None, None, None].expand(2, 2, 4, 4, 4)
        return Examination(probabilities, np.array([gap, 1.0]), 2.0)


@pytest.fixture
def cases(tmp_path: Path):
    """Makes studies whose files are there; those in ``labelled`` have a label too."""

    def made(*numbers: object, labelled: tuple[object, ...] = ()) -> list[Case]:
        found = []
        for number in numbers:
            image = tmp_path / f"study-{number}.nii"
            if not image.exists():
                image.touch()
            found.append(Case(image.stem, image, image if number in labelled else None))
        return found

    return made


@pytest.fixture
def store(tmp_path: Path) -> ScoreStore:
    return ScoreStore(tmp_path / "scores.sqlite")


def test_every_study_gets_its_score(cases, store: ScoreStore):
    steps: list[tuple[int, int]] = []
    count = score_studies(Model(), cases(10, 20, 30), store, 1, progress=lambda done, of: steps.append((done, of)))
    assert count == 3
    assert store.get("m") == pytest.approx({"study-10": 0.1, "study-20": 0.2, "study-30": 0.3})
    assert steps == [(1, 3), (2, 3), (3, 3)]
    fields = store.row("study-30", "m").fields
    assert fields == {"region": "foreground", "classes": {"1": pytest.approx(0.3)}}
    assert store.row("study-30", "m").foreground == 4**3 * 2.0
    np.testing.assert_allclose(store.embeddings("m").of(["study-30"]), [[0.3, 1]])


def test_what_was_scored_by_this_model_is_not_scored_again(cases, store: ScoreStore):
    score_studies(Model(), cases(10), store, 1)
    again, new = Model(), Model(checksum="new")
    assert score_studies(again, cases(10, 20), store, 1) == 1
    assert again.asked == ["study-20"]
    assert score_studies(new, cases(10, 20), store, 1) == 2


def test_a_stopped_scoring_goes_on_where_it_ended(cases, store: ScoreStore):
    many, first, second = cases(*range(10, 20)), Model(), Model()
    assert score_studies(first, many, store, 1, should_stop=lambda: len(first.asked) == 4) == 4
    assert len(store.get("m")) == 4
    assert score_studies(second, many, store, 1) == 6
    assert sorted(first.asked + second.asked) == sorted(case.id for case in many)


def test_a_killed_scoring_keeps_what_it_had(cases, store: ScoreStore):
    class Killed(Model):
        def examine(self, image: Path, mirrored: bool = False) -> Examination:
            if len(self.asked) == 2:
                raise KeyboardInterrupt
            return super().examine(image)

    with pytest.raises(KeyboardInterrupt):
        score_studies(Killed(), cases(10, 20, 30), store, 1)
    assert score_studies(Model(), cases(10, 20, 30), store, 1) == 1
    assert len(store.get("m")) == 3


def test_no_study_is_begun_after_the_time(cases, store: ScoreStore, monkeypatch: pytest.MonkeyPatch):
    clock = iter(range(0, 10_000, 10))  # each look at the clock is 10 seconds later
    monkeypatch.setattr(scoring.time, "monotonic", lambda: float(next(clock)))
    # begin at 0, then per study: in time?, start, end -> asked at 10, 40, 70, so two studies fit in one minute
    assert score_studies(Model(), cases(10, 20, 30, 40), store, minutes=1) == 2
    assert score_studies(Model(), cases(10, 20, 30, 40), store, minutes=0) == 0


def test_a_bad_study_is_said_remembered_and_the_others_go_on(
    cases, store: ScoreStore, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.WARNING):
        assert score_studies(Model(broken=("study-20",)), cases(10, 20, 30), store, 1) == 2
    assert "study-20" in caplog.text
    assert "truncated" in caplog.text
    assert "truncated" in store.failures("m")["study-20"]
    assert set(store.get("m")) == {"study-10", "study-30"}
    later = Model(broken=("study-20",))
    assert score_studies(later, cases(10, 20, 30), store, 1) == 0
    assert later.asked == []


def test_a_score_that_is_not_a_number_is_a_failure(cases, store: ScoreStore):
    assert score_studies(Model(), cases(10, "nan"), store, 1) == 1
    assert "not a number" in store.failures("m")["study-nan"]


def test_a_killed_process_loses_only_the_study_it_was_at(cases, store: ScoreStore):
    class Slow(Model):
        def examine(self, image: Path, mirrored: bool = False) -> Examination:
            if len(self.asked) == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().examine(image)

    process = multiprocessing.get_context("fork").Process(
        target=lambda: score_studies(Slow(), cases(*range(10, 16)), ScoreStore(store.path), 1)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(store.get("m")) == 3
    again = Model()
    assert score_studies(again, cases(*range(10, 16)), store, 1) == 3
    assert len(again.asked) == 3
    assert len(store.get("m")) == 6


def test_without_a_previous_model_the_order_is_that_of_the_model_not_of_the_alphabet(cases, store: ScoreStore):
    many = cases(*range(10, 22))

    def order(model: str, given: list[Case]) -> list[str]:
        return [case.id for case in promising_first(given, store, model)]

    assert order("m", many) == order("m", many[::-1])
    assert order("m", many) != order("n", many)
    assert order("m", many) != sorted(order("m", many))
    asked = Model("m")
    score_studies(asked, many, store, 1)
    assert asked.asked == order("m", many)


def test_the_most_promising_come_first(cases, store: ScoreStore):
    for number, score in {10: 0.1, 11: 0.9, 12: 0.5, 13: 0.7, 14: 0.3, 15: 0.99}.items():
        store.put(f"study-{number}", "before", score, {}, 1.0)
    store.put_failure("study-16", "before", "truncated", 1.0)
    store.put("study-20", "long before", 0.99, {}, 1.0)
    store.put("study-11", "before", 0.9, {}, 1.0)  # scored last
    many = cases(*range(10, 17), 20, 21, labelled=(15,))
    order = [case.id.split("-")[1] for case in promising_first(many[::-1], store, "m")]
    assert order[:3] == ["15", "11", "13"], "the labelled one, then those above the median of 0.5"
    assert sorted(order[3:6]) == ["16", "20", "21"], "those that the last model knows no score of"
    assert order[6:] == ["12", "14", "10"]
    asked = Model()
    score_studies(asked, many, store, 1, should_stop=lambda: len(asked.asked) == 2)
    assert asked.asked == ["study-15", "study-11"]
    rest = Model()
    score_studies(rest, many, store, 1, should_stop=lambda: len(rest.asked) == 1)
    assert rest.asked == ["study-13"], "an interruption changes nothing in the order"


def test_several_processes_do_together_what_one_does(cases, store: ScoreStore, tmp_path: Path):
    many, alone = cases(*range(10, 31)), ScoreStore(tmp_path / "alone.sqlite")
    for each in (store, alone):
        for number in range(10, 20):
            each.put(f"study-{number}", "before", number / 20, {}, 1.0)
    score_studies(Model(), many, alone, 1)

    def rank(number: int) -> None:
        model = Model()
        score_studies(model, many, ScoreStore(store.path), 1, share=(number, 3))
        (tmp_path / f"asked-{number}").write_text(" ".join(model.asked))

    processes = [multiprocessing.get_context("fork").Process(target=rank, args=(number,)) for number in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    shares = [(tmp_path / f"asked-{number}").read_text().split() for number in range(3)]
    assert sorted(map(len, shares)) == [7, 7, 7]
    assert sorted(study for share in shares for study in share) == sorted(case.id for case in many), "each study once"
    assert store.get("m") == alone.get("m")
    ids = [case.id for case in many]
    np.testing.assert_array_equal(store.embeddings("m").of(ids), alone.embeddings("m").of(ids))


def test_a_study_that_is_replaced_or_deleted_while_it_is_scored_is_not_written(
    cases, store: ScoreStore, caplog: pytest.LogCaptureFixture
):
    class Meanwhile(Model):
        def examine(self, image: Path, mirrored: bool = False) -> Examination:
            if image.stem == "study-10":
                image.write_bytes(b"another")
            if image.stem == "study-20":
                image.unlink()
                raise StudyError(image.stem, "the file does not exist")
            return super().examine(image)

    many = cases(10, 20, 30)
    assert score_studies(Meanwhile(), many, store, 1) == 1
    assert set(store.get("m")) == {"study-30"}
    assert store.failures("m") == {}
    assert "'study-10' was deleted or replaced" in caplog.text
    assert "'study-20' was deleted or replaced" in caplog.text
    later = Model()
    assert score_studies(later, many[:1], store, 1) == 1


def test_a_replaced_or_mended_study_is_scored_again(cases, store: ScoreStore):
    many = cases(10, 20, 30)
    score_studies(Model(broken=("study-20",)), many, store, 1)
    for number in (10, 20):
        (many[0].image.parent / f"study-{number}.nii").write_bytes(b"another")
    again = Model()
    assert score_studies(again, many, store, 1) == 2
    assert sorted(again.asked) == ["study-10", "study-20"]
    assert store.failures("m") == {}


def test_a_label_makes_no_other_image(cases, store: ScoreStore):
    score_studies(Model(), cases(10), store, 1)
    again = Model()
    assert score_studies(again, cases(10, labelled=(10,)), store, 1) == 0


def test_a_server_that_is_away_is_asked_again_later(cases, store: ScoreStore):
    def away() -> None:
        raise StudyAwayError("study-10", "its server does not answer")

    many = [Case("study-10", cases(10)[0].image, fetch=away, version="1"), *cases(20)]
    assert score_studies(Model(), many, store, 1) == 1
    assert store.failures("m") == {}
    assert score_studies(Model(), cases(10, 20), store, 1) == 1


def test_a_study_with_a_fault_is_named(cases, store: ScoreStore):
    case = Case("study-10", cases(10)[0].image, fault="it has two files")
    assert score_studies(Model(), [case], store, 1) == 0
    assert "two files" in store.failures("m")["study-10"]


def test_scores_of_a_model_that_was_rolled_back_are_found_again(cases, store: ScoreStore):
    many = cases(10, 20)
    score_studies(Model("old"), many, store, 1)
    score_studies(Model("new"), many, store, 1)
    back = Model("old")
    assert score_studies(back, many, store, 1) == 0
    assert back.asked == []
    assert len(store.get("old")) == 2


@pytest.fixture
def segmenter() -> Segmenter:
    config = Config(size="small", device="cpu", overlap=0.0, precision="fp32")
    plan = Plan(spacing=(4.0, 4.0, 5.0), modality="mr", patch=(16, 16, 16))
    labels = LabelMap({1: "organ", 2: "lesion"})
    return Segmenter(build_method(config, 1, 3, plan.patch), plan, labels, config, checksum="untrained")


def test_a_segmenter_scores_the_studies_of_a_folder(store: ScoreStore, studies: Path, segmenter: Segmenter):
    waiting = [case for case in find_cases(studies) if not case.label][:2]
    waiting[0].image.write_bytes(waiting[0].image.read_bytes()[:1000])
    assert score_studies(segmenter, waiting, store, 1) == 1
    expected = segmenter.examine(waiting[1].image)
    assert store.get("untrained") == pytest.approx({waiting[1].id: score_case(expected.probabilities).score})
    assert set(store.failures("untrained")) == {waiting[0].id}
    np.testing.assert_array_equal(store.embeddings("untrained").of([waiting[1].id])[0], expected.embedding)
    predicted = (expected.probabilities.argmax(1) > 0).any(0).sum().item()
    assert store.row(waiting[1].id, "untrained").foreground == pytest.approx(predicted * 4 * 4 * 5, rel=0.2)


def test_it_scores_by_another_measure_over_mirrored_views(store: ScoreStore, studies: Path, segmenter: Segmenter):
    case = find_cases(studies)[3]
    score_studies(segmenter, [case], store, 1, measure="mutual_information", mirrored=True)
    views = segmenter.examine(case.image, mirrored=True).probabilities
    assert len(views) == 4 * len(segmenter.predict(case.image))
    assert store.get("untrained")[case.id] == pytest.approx(score_case(views, "mutual_information").score)


def test_features_of_the_studies_of_a_folder(store: ScoreStore, studies: Path):
    found = find_cases(studies)
    found[4].image.write_bytes(b"broken")
    steps: list[tuple[int, int]] = []
    assert describe_studies(found, store, 1, progress=lambda done, of: steps.append((done, of))) == 5
    assert steps[-1] == (6, 6)
    assert set(store.failures(FEATURES)) == {found[4].id}
    np.testing.assert_allclose(store.embeddings(FEATURES).of([found[0].id])[0], study_features(found[0].image))
    assert describe_studies(found, store, 1) == 0, "what is there is not computed again"
    found[4].image.write_bytes(found[3].image.read_bytes())
    assert describe_studies(found, store, 1) == 1
    assert store.failures(FEATURES) == {}
