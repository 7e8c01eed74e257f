"""Epochs of 50 iterations, and what is printed where there is no terminal."""

from __future__ import annotations

import pytest

from lib.training.progress import Bar, PlainLines, Progress


@pytest.mark.parametrize(("step", "epoch"), [(0, 0), (1, 1), (50, 1), (51, 2), (120, 3)])
def test_epochs_are_begun_every_50_iterations(step: int, epoch: int) -> None:
    assert Progress("training", step, 120).epoch == epoch
    assert Progress("training", step, 120).total_epochs == 3


def test_without_a_terminal_a_line_a_stage_and_one_now_and_then(capsys: pytest.CaptureFixture) -> None:
    now = iter([0, 5, 29.9, 40, 41])
    bar = Bar("cross_pseudo", PlainLines("it", every=30, clock=lambda: next(now)))
    bar(Progress("preparing"))
    bar(Progress("training", 1, 300, {"supervised": 0.25, "cross": 0.5, "loss": 0.75, "skipped/cross": 1.0}))
    bar(Progress("training", 50, 300, {"loss": 0.5}))
    bar(Progress("training", 71, 300, {"loss": 0.5}, 0.25))
    bar(Progress("ended", 300, 300, metric=0.75))
    assert capsys.readouterr().err.splitlines() == [
        "cross_pseudo: preparing",
        "cross_pseudo: training 1/300  loss 0.750  supervised 0.250  cross 0.500",
        "cross_pseudo: training 71/300  2 it/s  01:54 left  loss 0.500  Dice 0.250",  # 70 in 35 s, 229 to go
        "cross_pseudo: ended 300/300  Dice 0.750",
    ]


def test_of_many_losses_the_sum_and_the_first_ones_are_shown(capsys: pytest.CaptureFixture) -> None:
    Bar()(Progress("training", 1, 3, {**dict.fromkeys("abcdef", 0.5), "loss": 1.0}))
    assert capsys.readouterr().err == "train: training 1/3  loss 1.000  a 0.500  b 0.500  c 0.500\n"


def test_a_count_that_stands_still_has_no_pace() -> None:
    now = iter([0, 60, 120])
    pace = PlainLines("studies", every=30, clock=lambda: next(now))
    lines = [pace.line("score", done, 10) for done in (0, 0, 3)]
    assert lines == ["score 0/10", "score 0/10", "score 3/10  0.05 studies/s  02:20 left"]


def test_on_a_terminal_a_bar_that_starts_where_the_training_does(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    bar = Bar("train")
    bar(Progress("preparing"))
    assert bar.bar is None
    for step in (5, 6):
        bar(Progress("training", step, 8, {"loss": 0.5}))
    assert bar.bar is not None
    assert (bar.bar.initial, bar.bar.n, bar.bar.total) == (5, 6, 8)
    bar(Progress("ended", 8, 8, metric=0.75))
    shown = capsys.readouterr().err
    assert "train: ended" in shown
    assert "it/s" in shown
    assert "Dice 0.750" in shown
