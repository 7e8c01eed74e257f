"""The picture of a comparison: image, reference, predictions and uncertainty side by side, a study a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch
from numpy.typing import NDArray

COLOURS = ("#4cc9f0", "#ff9f1c", "#b8f35d", "#f72585", "#ffd60a", "#c77dff")  # by class, readable on grey
BACKGROUND, TEXT = "#14161a", "#e8e8e8"
CELL = 2.2  # inches


@dataclass(frozen=True)
class Row:
    """One study of the comparison. All arrays are (X, Y, Z) in RAS on the same grid.

    Attributes:
        title: written beside the row, usually the study's id.
        image: intensities in any unit, or (X, Y, Z, 3) red, green and blue.
        reference: label values.
        predictions: title of the column -> label values; the same titles in every row.
        dice: title of the column -> Dice of the whole study, 0 to 1, written under the cell.
        uncertainty: 0 is certain; all rows share one colour scale.
        spacing: mm per voxel.
        level: index of the axial slice to draw; None: the one that shows most of the reference.
    """

    title: str
    image: NDArray
    reference: NDArray
    predictions: Mapping[str, NDArray]
    dice: Mapping[str, float]
    uncertainty: NDArray
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    level: int | None = None


def draw_overlay(path: Path, rows: Sequence[Row], names: Mapping[int, str]) -> None:
    """Write a PNG of one axial slice a study, the patient's right on the left as radiologists look at them.

    Labels are filled with the colour of their class; the reference's outline is dashed white over each prediction.

    Args:
        path: file to write; its folder exists.
        rows: at least one.
        names: label value -> name of the class, for the legend; other values are not drawn.

    Raises:
        ValueError: no rows, or rows that do not fit together.
    """
    _check(rows)
    columns = list(rows[0].predictions)
    titles = ["image", "reference", *columns, "uncertainty"]
    size = (CELL * len(titles) + 0.5, (CELL + 0.2) * len(rows) + 0.6)
    figure = Figure(figsize=size, facecolor=BACKGROUND, layout="compressed")
    cells = figure.subplots(len(rows), len(titles), squeeze=False)
    top = max(float(row.uncertainty.max()) for row in rows) or 1.0
    for row, axes in zip(rows, cells, strict=True):
        level = best_slice(row.reference) if row.level is None else row.level
        truth = _plane(row.reference, level)
        for axis in axes[:-1]:
            _show(axis, row, grey_or_colours(row.image), level, cmap="gray", vmin=0, vmax=1)
        _fill(axes[1], truth, names)
        for axis, column in zip(axes[2:], columns, strict=False):
            _fill(axis, _plane(row.predictions[column], level), names)
            for value in names:
                axis.contour(truth == value, levels=[0.5], colors="white", linewidths=0.9, linestyles="--")
            axis.set_xlabel(f"Dice {row.dice[column]:.2f}", color=TEXT)
        heat = _show(axes[-1], row, row.uncertainty, level, cmap="inferno", vmin=0, vmax=top)
        axes[0].set_ylabel(row.title, color=TEXT)
    for axis, title in zip(cells[0], titles, strict=True):
        axis.set_title(title, color=TEXT)
    figure.colorbar(heat, ax=cells[:, -1]).ax.tick_params(colors=TEXT, labelsize=8)
    patches = [Patch(color=_colour(value, names), label=names[value]) for value in sorted(names)]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(names), labelcolor=TEXT, frameon=False)
    FigureCanvasAgg(figure).print_png(path)  # drawn without pyplot: no window, no state shared between threads


def best_slice(reference: NDArray) -> int:
    """The slice along Z of ``(X, Y, Z)`` that shows most of all classes, small ones too; else the middle one."""
    areas = [(reference == value).sum((0, 1)) for value in np.unique(reference[reference > 0])]
    return int(sum(area / area.max() for area in areas).argmax()) if areas else reference.shape[2] // 2


def _check(rows: Sequence[Row]) -> None:
    if not rows:
        raise ValueError("An overlay needs at least one study")
    for row in rows:
        if list(row.predictions) != list(rows[0].predictions):
            raise ValueError(f"Row '{row.title}' has other predictions than the first row")
        for array in (row.reference, row.uncertainty, *row.predictions.values()):
            if array.shape != row.image.shape[:3]:
                raise ValueError(
                    f"Row '{row.title}': an array of shape {array.shape} beside an image of {row.image.shape}"
                )


def _plane(volume: NDArray, level: int) -> NDArray:
    """The slice as pixels (Y, X) or (Y, X, 3), x from the patient's right to the left in reading direction."""
    return volume[::-1, :, level].swapaxes(0, 1)


def grey_or_colours(image: NDArray) -> NDArray:
    """A slice of any shape between 0 and 1, with the same window for all colours."""
    low, high = np.percentile(image, (1, 99.5))
    return np.clip((image - low) / max(float(high - low), 1e-6), 0, 1)


def _show(axis: Axes, row: Row, volume: NDArray, level: int, **style: Any) -> AxesImage:
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
    return axis.imshow(_plane(volume, level), origin="lower", aspect=row.spacing[1] / row.spacing[0], **style)


def _fill(axis: Axes, label: NDArray, names: Mapping[int, str]) -> None:
    for value in names:
        colour = _colour(value, names)
        axis.contourf(label == value, levels=[0.5, 1.5], colors=[colour], alpha=0.35)
        axis.contour(label == value, levels=[0.5], colors=[colour], linewidths=1.5)


def _colour(value: int, names: Mapping[int, str]) -> str:
    return COLOURS[sorted(names).index(value) % len(COLOURS)]
