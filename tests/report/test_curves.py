"""Curves read back from TensorBoard's files."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch.utils.tensorboard import SummaryWriter

from lib.report.curves import POINTS, read_curves


def write(run: Path, name: str, points: list[tuple[int, float]], time: float = 1.0) -> None:
    writer = SummaryWriter(str(run / "events"))
    for step, value in points:
        writer.add_scalar(name, value, step, walltime=time + step)
    writer.close()


def test_each_value_written_is_read_back_at_its_iteration(tmp_path: Path) -> None:
    write(tmp_path, "training/loss", [(10, 0.5), (20, 0.25)])
    write(tmp_path, "validation/dice", [(20, 0.75)])
    assert read_curves(tmp_path) == {"training/loss": [(10, 0.5), (20, 0.25)], "validation/dice": [(20, 0.75)]}


def test_where_a_resumed_training_went_again_the_later_value_counts(tmp_path: Path) -> None:
    write(tmp_path, "training/loss", [(10, 0.5), (20, 0.25)])
    write(tmp_path, "training/loss", [(20, 0.125), (30, 0.0625)], time=1000.0)
    assert read_curves(tmp_path)["training/loss"] == [(10, 0.5), (20, 0.125), (30, 0.0625)]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_finite_number_is_none(tmp_path: Path, value: float) -> None:
    write(tmp_path, "training/loss", [(10, value), (20, 0.5)])
    assert read_curves(tmp_path)["training/loss"] == [(10, None), (20, 0.5)]


def test_a_long_curve_is_thinned_and_keeps_its_end(tmp_path: Path) -> None:
    write(tmp_path, "training/loss", [(step, float(step)) for step in range(POINTS + 500)])
    curve = read_curves(tmp_path)["training/loss"]
    assert len(curve) == POINTS
    assert curve[-1] == (POINTS + 499, POINTS + 499.0)
    assert all(step == value for step, value in curve)


def test_a_run_without_events_has_no_curves(tmp_path: Path) -> None:
    assert read_curves(tmp_path) == {}
