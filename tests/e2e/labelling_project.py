"""A labelling project as it stands after three rounds, for the page that shows it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import nibabel as nib
import numpy as np

from lib.config import Config
from lib.inference.segmenter import Segmenter
from lib.selection.scoring import score_studies
from lib.selection.store import ScoreStore
from lib.studies.cases import find_cases
from lib.studies.labels import label_map
from lib.studies.phantoms import write_studies
from lib.training.model_folder import ModelFolder
from lib.training.train import train

STUDIES, ROUNDS = 14, (5, 7, 9)  # labels of each round
SETTINGS: Mapping[str, object] = {"size": "small", "patch": "16,16,16", "validation": 0.3, "workers": 0, "threads": 1}
QUICK = {"learning_rate": 0.01, "ema": 0.9}  # for trainings of seconds
BROKEN = "flat"


def write_project(folder: Path, iterations: int) -> tuple[Path, ModelFolder]:
    """Studies and the model folder of three rounds, the last one also without the unlabelled studies; all are scored.

    One study cannot be read.
    """
    studies, truth = folder / "studies", folder / "truth"
    ids = write_studies(studies, STUDIES, ROUNDS[0], 1, shape=(40, 40, 28))
    write_studies(truth, STUDIES, STUDIES, 1, shape=(40, 40, 28))
    nib.save(nib.Nifti1Image(np.zeros((16, 16), np.int16), np.eye(4)), studies / f"{BROKEN}.nii.gz")
    model = ModelFolder(folder / "model")
    for labels, method in zip((*ROUNDS, ROUNDS[-1]), ("multiscale",) * 3 + ("supervised",), strict=True):
        for study in ids[:labels]:
            shutil.copy(truth / "labels" / "final" / f"{study}.nii.gz", studies / "labels" / "final")
        cases = find_cases(studies)
        config = Config.from_conf({**SETTINGS, **QUICK, "iterations": iterations, "method": method})
        config = config.replace(pretrained=method != "supervised", validations=3, batch_unlabelled=1)
        train(cases, label_map(config, studies, cases), config, model)
    assert model.live
    segmenter = Segmenter.load(model.live)
    score_studies(segmenter, find_cases(studies), ScoreStore(model.scores), minutes=5)
    return studies, model
