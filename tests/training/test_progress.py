"""Epochs of 50 iterations, and what is printed where there is no terminal."""

from __future__ import annotations

import pytest

from lib.training.progress import Bar, Progress


@pytest.mark.parametrize(("step", "epoch"), [(0, 0), (1, 1), (50, 1), (51, 2), (120, 3)])
def test_epochs_are_begun_every_50_iterations(step: int, epoch: int) -> None:
    assert Progress("training", step, 120).epoch == epoch
    assert Progress("training", step, 120).total_epochs == 3


def test_without_a_terminal_a_line_now_and_then_and_one_at_the_end(capsys: pytest.CaptureFixture) -> None:
    bar = Bar("cross_pseudo", every=3600)
    for step in range(1, 4):
        bar(Progress("training", step, 3, {"loss": 0.5}, 0.25))
    bar(Progress("ended", 3, 3, metric=0.75))
    assert capsys.readouterr().err.splitlines() == [
        "cross_pseudo: training 1/3  loss 0.500  Dice 0.250",
        "cross_pseudo: ended 3/3    Dice 0.750",
    ]


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
    assert "Dice 0.750" in capsys.readouterr().err
