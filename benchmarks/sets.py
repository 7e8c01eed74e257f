"""The sets that benchmarks run on: a folder with ``images/``, ``labels/`` and ``dataset.json`` (``SEMISEG_DATA``)."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path

from lib.config import Config
from lib.studies.cases import TRAINING, Case, study_id
from lib.studies.labels import LabelMap, label_map


@dataclass(frozen=True)
class DataSet:
    """Cases with their labels; which of them a training sees is for the caller to say.

    Attributes:
        patients: in their published order, each with all his cases: a split never parts them.
        modalities: names of the series of each case, where it has several.
    """

    name: str
    patients: list[list[Case]]
    labels: LabelMap
    modalities: tuple[str, ...] = ()

    def split(
        self, labelled: int, kept: int, development: int = 0, unlabelled_too: bool = False
    ) -> tuple[list[Case], list[Case]]:
        """To train on: the first ``labelled`` patients with labels, the others without; to judge: the last ``kept``.

        Args:
            development: judge so many before the last ``kept`` instead; those stay out of everything.
            unlabelled_too: what is judged for development is an unlabelled study of the training as well.
        """
        end = len(self.patients) - kept
        start = end - development
        known, hidden = self.patients[: min(labelled, start)], self.patients[labelled:start]
        judged = self.patients[start:end] if development else self.patients[end:]
        if unlabelled_too and development:
            hidden = hidden + judged
        seen = [case.on(TRAINING) for patient in known for case in patient]
        seen += [Case(case.id, case.image, modalities=case.modalities) for patient in hidden for case in patient]
        return seen, [case for patient in judged for case in patient]

    def of_series(self, name: str) -> DataSet:
        """The same patients with one of their series."""
        patients = [[one_series(case, name) for case in patient] for patient in self.patients]
        return dataclasses.replace(self, patients=patients, modalities=(name,))


def one_series(case: Case, name: str) -> Case:
    """A case with one of its series."""
    file = case.modalities[name]
    return dataclasses.replace(case, image=file, modalities={name: file})


def data_folder(given: str | None) -> Path:
    """The folder of the sets: the argument, else the environment variable ``SEMISEG_DATA``."""
    place = given or os.environ.get("SEMISEG_DATA", "")
    if not place:
        raise SystemExit("Say where the sets are: --studies FOLDER or the environment variable SEMISEG_DATA")
    return Path(place).resolve()


def load_set(root: Path, name: str) -> DataSet:
    """One set by the name of its folder; one that lists patients as ``train`` and ``val`` has them in this order."""
    folder = root / name
    about = json.loads((folder / "dataset.json").read_text())
    images, labels = _by_id(folder / "images"), _by_id(folder / "labels")
    modalities = tuple(about.get("modalities", ()))
    cases = {key: _case(key, images, labels, modalities) for key in about["cases"]}
    patients = [[case] for case in cases.values()]
    if "train" in about:  # cases are <patient>_<frame>
        order = [*about["train"], *about["val"]]
        patients = [[case for key, case in cases.items() if key.startswith(f"{patient}_")] for patient in order]
    return DataSet(name, patients, label_map(Config(), folder), modalities)


def _case(key: str, images: dict[str, Path], labels: dict[str, Path], modalities: tuple[str, ...]) -> Case:
    series = {name: images[f"{key}_{name}"] for name in modalities}
    return Case(key, next(iter(series.values())) if series else images[key], labels[key], modalities=series)


def _by_id(folder: Path) -> dict[str, Path]:
    return {study_id(path): path for path in folder.iterdir()}


def write_figures(file: str | None, figures: dict[str, float]) -> None:
    """``{"figures": {key: number}}`` as all benchmarks write them."""
    if file:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_text(json.dumps({"figures": figures}, indent=1))
