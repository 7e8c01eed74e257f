"""What the values in a label file mean, and reading one onto its image's grid."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from lib.config import Config
from lib.errors import ConfigError, NotReadyError, StudyError
from lib.studies.cases import Case, is_picture
from lib.studies.pictures import WHITE
from lib.studies.reading import read_volume, voxel_spacing

GRID_TOLERANCE = 0.1  # of a voxel: how far two grids may be apart and still count as one


@dataclass(frozen=True)
class LabelMap:
    """Value in a label file -> class name. Networks number the classes 1, 2, ... by ascending value."""

    values: Mapping[int, str]

    def __post_init__(self) -> None:
        wrong = [f"{name}={value}" for value, name in self.values.items() if not 0 < value < 256]
        if wrong:
            raise ConfigError(f"The labels {', '.join(wrong)} have values outside of 1 to 255; renumber them")

    @property
    def names(self) -> tuple[str, ...]:
        """Class names without background; the class index is the place in this tuple plus one."""
        return tuple(self.values[value] for value in sorted(self.values))

    def to_values(self, classes: np.ndarray) -> np.ndarray:
        """Class indices of any shape as the values that a label file holds, uint8."""
        return np.array([0, *sorted(self.values)], dtype=np.uint8)[classes]


def label_map(config: Config, studies: Path | str | None, cases: Sequence[Case] = ()) -> LabelMap:
    """The classes: from the settings, else ``dataset.json`` of the folder, else what clients submitted.

    Raises:
        ConfigError: ``dataset.json`` cannot be understood.
        NotReadyError: nobody has named the classes.
    """
    if config.labels:
        return LabelMap({value: name for name, value in config.label_values.items()})
    file = Path(studies) / "dataset.json" if studies else None
    if file and file.is_file():
        named = _dataset_labels(file)
        if named:
            return LabelMap(named)
    submitted: dict[str, int] = {}
    for case in sorted(cases, key=lambda case: case.id):
        for value, name in sorted((case.values or {}).items()):
            if value > 0 and name not in submitted:
                submitted[name] = value if value not in submitted.values() else max(submitted.values()) + 1
    if not submitted:
        raise NotReadyError(
            "The classes have no names yet: give them with --conf labels NAME,NAME or in dataset.json, "
            "or submit a label with its label_info"
        )
    return LabelMap({value: name for name, value in submitted.items()})


def read_label(case: Case, labels: LabelMap, shape: Sequence[int], affine: np.ndarray) -> np.ndarray:
    """The case's label as class indices on its image's grid.

    Args:
        shape, affine: the image's own grid.

    Returns:
        uint8 ``(X, Y, Z)``; background is 0. All zero means "reviewed, nothing there".

    Raises:
        StudyError: unreadable, on another grid, or with values that no name maps.
    """
    if case.label is None:
        raise StudyError(case.id, "it has no label")
    try:
        array, own = read_volume(case.label)
    except StudyError as error:
        raise StudyError(case.id, f"its label: {error.cause}", error.remedy) from error
    if array.shape != tuple(shape):
        raise StudyError(
            case.id,
            f"its label has the shape {array.shape}, the image {tuple(shape)}",
            "Submit the label on the image's own grid",
        )
    if is_picture(case.image):  # has no place in space: programs give its pixels any size, but keep their order
        own, affine = _directions(own), _directions(affine)
    if not same_place(own, affine, shape):
        raise StudyError(
            case.id,
            "its label lies elsewhere in space than the image (origin, spacing or orientation differ)",
            "Submit the label on the image's own grid",
        )
    return _to_classes(case, array, labels)


def same_place(one: np.ndarray, other: np.ndarray, shape: Sequence[int]) -> bool:
    """Whether a grid of this shape lies at the same place by both affines, to :data:`GRID_TOLERANCE`."""
    corners = np.array([[*corner, 1] for corner in product(*((0, n - 1) for n in shape))], dtype=float).T
    tolerance = max(GRID_TOLERANCE * voxel_spacing(other).max(), 1e-3)
    return bool(np.abs(one @ corners - other @ corners).max() <= tolerance)


def _directions(affine: np.ndarray) -> np.ndarray:
    """The affine of voxels of 1 mm from the world's origin."""
    plain = np.eye(4)
    plain[:3, :3] = affine[:3, :3] / voxel_spacing(affine)
    return plain


def _to_classes(case: Case, array: np.ndarray, labels: LabelMap) -> np.ndarray:
    names = case.values or labels.values
    only = [name for value, name in names.items() if value > 0]
    if case.label and is_picture(case.label) and len(only) == 1 and set(np.unique(array)) - {0} == {WHITE}:
        names = {WHITE: only[0]}  # black and white, as drawing programs save a mask of one class, whatever its value
    index = {name: place for place, name in enumerate(labels.names, 1)}
    classes = np.zeros(array.shape, dtype=np.uint8)
    for value in np.unique(array):
        if value == 0:
            continue
        name = names.get(int(value)) if float(value).is_integer() else None
        if name not in index:
            known = ", ".join(f"{number}={label}" for number, label in sorted(names.items()))
            cause = f"its label holds the value {value:g}, which no class has"
            cause += f" (its values: {known}; the classes: {', '.join(index)})"
            raise StudyError(case.id, cause, "Name it with --conf labels or correct the label")
        classes[array == value] = index[name]
    return classes


def _dataset_labels(file: Path) -> dict[int, str]:
    """Both forms of ``dataset.json``: {"1": "liver"} (Decathlon) and {"liver": 1} (nnU-Net v2)."""
    try:
        pairs = json.loads(file.read_text()).get("labels") or {}
        named = (
            {int(key): str(name) for key, name in pairs.items()}
            if all(key.isdigit() for key in pairs)
            else {int(value): str(name) for name, value in pairs.items()}
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{file} cannot be understood ({error}); its 'labels' should read {{\"liver\": 1}}"
        ) from error
    named.pop(0, None)
    return named
