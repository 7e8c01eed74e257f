"""The sets that benchmarks run on: a folder with ``images/``, ``labels/`` and ``dataset.json`` (``SEMISEG_DATA``)."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from lib.config import Config
from lib.studies.cases import TRAINING, Case
from lib.studies.labels import LabelMap, label_map


@dataclass(frozen=True)
class DataSet:
    """Cases in their published order, all with their labels; which of them a training sees is for the caller to say."""

    name: str
    cases: list[Case]
    labels: LabelMap

    def split(self, labelled: int, kept: int) -> tuple[list[Case], list[Case]]:
        """The first ``labelled`` with their labels and the others without, for training; the last ``kept`` to judge."""
        pool, judged = self.cases[:-kept], self.cases[-kept:]
        hidden = [Case(case.id, case.image) for case in pool[labelled:]]
        return [case.on(TRAINING) for case in pool[:labelled]] + hidden, judged


def data_folder(given: str | None) -> Path:
    """The folder of the sets: the argument, else the environment variable ``SEMISEG_DATA``."""
    place = given or os.environ.get("SEMISEG_DATA", "")
    if not place:
        raise SystemExit("Say where the sets are: --studies FOLDER or the environment variable SEMISEG_DATA")
    return Path(place)


def load_set(root: Path, name: str) -> DataSet:
    """One set by the name of its folder."""
    folder = root / name
    order = json.loads((folder / "dataset.json").read_text())["cases"]
    cases = [Case(key, folder / "images" / f"{key}.nii.gz", folder / "labels" / f"{key}.nii.gz") for key in order]
    return DataSet(name, cases, label_map(Config(), folder))


def write_figures(file: str | None, figures: dict[str, float]) -> None:
    """``{"figures": {key: number}}`` as all benchmarks write them."""
    if file:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_text(json.dumps({"figures": figures}, indent=1))
