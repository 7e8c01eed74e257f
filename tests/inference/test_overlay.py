"""The overlay shows the classes in their colours, the right way round, and refuses rows that do not fit."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from lib.inference.overlay import COLOURS, Row, best_slice, draw_overlay
from lib.studies.phantoms import LABELS, phantom

NAMES = {value: name for name, value in LABELS.items()}


def row(seed: int = 0) -> Row:
    image, label = phantom(seed, (32, 32, 24))
    predictions = {"supervised": np.roll(label, 4, axis=0), "cross_pseudo": label}
    dice = {"supervised": 0.6, "cross_pseudo": 1.0}
    return Row(f"study {seed}", image, label, predictions, dice, (label > 0).astype(np.float32), (1.0, 1.5, 2.0))


def pixels_of(path: Path, colour: str) -> np.ndarray:
    """Columns (pixels from the left) of all pixels of this colour."""
    close = np.abs(imread(path)[..., :3] - to_rgb(colour)).max(-1) < 0.02
    return np.nonzero(close)[1]


def test_all_classes_are_drawn_and_a_row_more_is_a_taller_picture(tmp_path: Path) -> None:
    draw_overlay(tmp_path / "one.png", [row()], NAMES)
    draw_overlay(tmp_path / "two.png", [row(), row(1)], NAMES)
    one, two = imread(tmp_path / "one.png"), imread(tmp_path / "two.png")
    assert one.shape[1] == two.shape[1]
    assert two.shape[0] > 1.5 * one.shape[0]
    for colour in COLOURS[:2]:
        assert len(pixels_of(tmp_path / "two.png", colour)) > len(pixels_of(tmp_path / "one.png", colour)) > 100
    assert not len(pixels_of(tmp_path / "two.png", COLOURS[2]))


def test_predictions_are_drawn_where_the_reference_is_empty(tmp_path: Path) -> None:
    full = row()
    bare = dataclasses.replace(full, reference=np.zeros_like(full.reference))
    silent = dataclasses.replace(bare, predictions=dict.fromkeys(full.predictions, bare.reference))
    draw_overlay(tmp_path / "bare.png", [bare], NAMES)
    draw_overlay(tmp_path / "silent.png", [silent], NAMES)
    drawn, legend = (len(pixels_of(tmp_path / name, COLOURS[0])) for name in ("bare.png", "silent.png"))
    assert drawn > legend + 100


def test_the_patients_right_is_on_the_left(tmp_path: Path) -> None:
    """In RAS the first axis grows towards the patient's right; radiologists look from the feet."""
    middles = []
    for low, high in ((2, 8), (24, 30)):
        label = np.zeros((32, 32, 4), dtype=np.uint8)
        label[low:high, 10:20] = 1
        empty = np.zeros_like(label)
        plain = Row("x", np.random.default_rng(0).random(label.shape), label, {"a": empty}, {"a": 0.0}, empty)
        draw_overlay(tmp_path / "side.png", [plain], {1: "organ"})
        middles.append(pixels_of(tmp_path / "side.png", COLOURS[0]).mean())
    assert middles[1] < middles[0] - 10


def test_empty_predictions_and_no_uncertainty_are_drawn_without_a_warning(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    nothing = np.zeros((32, 32, 24), dtype=np.uint8)
    full = row()
    predictions = dict.fromkeys(full.predictions, nothing)
    draw_overlay(
        tmp_path / "empty.png", [dataclasses.replace(full, predictions=predictions, uncertainty=nothing)], NAMES
    )
    assert (tmp_path / "empty.png").stat().st_size > 5000
    assert not [str(warning.message) for warning in recwarn]


def test_the_slice_shows_the_small_class_too() -> None:
    label = np.zeros((10, 10, 6), dtype=np.uint8)
    label[:8, :8, 1] = 1
    label[:7, :7, 4] = 1
    label[0, 0, 4] = 2
    assert best_slice(label) == 4
    assert best_slice(np.zeros((4, 4, 9))) == 4


def test_rows_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    other = dataclasses.replace(row(1), predictions={"other": row(1).reference})
    cut = dataclasses.replace(row(1), uncertainty=row(1).uncertainty[:-1])
    for rows, word in (([], "at least one"), ([row(), other], "other predictions"), ([row(), cut], r"\(31, 32, 24\)")):
        with pytest.raises(ValueError, match=word):
            draw_overlay(tmp_path / "no.png", rows, NAMES)
    assert not list(tmp_path.iterdir())


def test_a_colour_picture_is_drawn_upright_in_its_colours(tmp_path: Path) -> None:
    """As to_ras turns it: its first column and row come last."""
    image, label = np.full((32, 24, 1, 3), 20.0), np.zeros((32, 24, 1), np.uint8)
    image[20:, :, :, 0] = 250  # red, in the columns that were first
    empty = np.zeros_like(label)
    label[2:4, 2:4] = 1
    draw_overlay(tmp_path / "red.png", [Row("x", image, label, {"a": empty}, {"a": 0.0}, empty)], {1: "organ"})
    pixels = imread(tmp_path / "red.png")[..., :3]
    red = np.argwhere(np.abs(pixels - (1, 0, 0)).max(-1) < 0.02)
    dark = np.argwhere(pixels.max(-1) < 0.02)
    assert len(red) > 500
    assert red[:, 1].min() < dark[:, 1].min()
