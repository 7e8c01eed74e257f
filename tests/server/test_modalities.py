"""Patients with several series behind the server: files for the clients, patients for training, scoring and Next."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lib.config import Config
from lib.errors import ConfigError, NotReadyError, StudyError
from lib.inference.model_file import Model
from lib.methods.registry import build_method
from lib.selection.store import ScoreStore
from lib.server import training
from lib.server.cases import cases_of, labelled_cases, worklist
from lib.server.datastore import FolderDatastore
from lib.server.live import LiveModel
from lib.server.scoring import DiceScoring, UncertaintyScoring
from lib.server.segmentation import SegmentationTask
from lib.server.strategies import LookUp
from lib.server.train_stats import TrainStats
from lib.server.training import TrainingTask
from lib.studies.labels import LabelMap
from lib.studies.phantom_patients import write_patients
from lib.studies.plan import Plan
from lib.training.model_folder import ModelFolder
from lib.training.train import Result

NAMES = ("ct", "mr")
PATCH = (16, 16, 8)
WINDOW = (-100.0, 200.0, 50.0, 40.0)
SCHEMES = {"schemes": ("ct", "mr"), "windows": (WINDOW, ())}
PLAN = Plan((3.0, 3.0, 5.0), "ct", PATCH, WINDOW, modalities=NAMES, **SCHEMES)


@pytest.fixture
def config() -> Config:
    return Config(
        method="semi_cml", modalities=NAMES, size="small", patch=PATCH, precision="fp32", device="cpu", workers=0
    )


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """Patient 0 labelled on his CT, patient 1 under his own id, 2 and 3 not; 3 has no CT."""
    folder = tmp_path / "studies"
    write_patients(folder, 4, 2, NAMES, missing={3: ["ct"]})
    finals = folder / "labels" / "final"
    (finals / "patient_001_ct.nii.gz").rename(finals / "patient_001.nii.gz")
    return folder


@pytest.fixture
def publish(folder: ModelFolder, config: Config) -> Callable[[dict[str, float]], str]:
    """Publishes an untrained model whose modalities were this good."""

    def published(strength: dict[str, float]) -> str:
        weights = build_method(config, 1, 3, PATCH).weights()
        labels = LabelMap({1: "organ", 2: "lesion"})
        return folder.publish(Model(config, PLAN, labels, weights, metrics={"modalities": strength}), keep=3)

    return published


def test_a_label_on_one_series_or_on_none_is_the_patients(datastore: FolderDatastore, studies: Path) -> None:
    assert {case.id for case in cases_of(datastore, NAMES)} == {f"patient_00{n}" for n in range(4)}
    labelled = {case.id: case for case in labelled_cases(datastore, NAMES)}
    assert set(labelled) == {"patient_000", "patient_001"}
    assert labelled["patient_001"].label == studies / "labels" / "final" / "patient_001.nii.gz"
    assert [case.id for case in worklist(datastore, NAMES, {})[0]] == ["patient_002_ct", "patient_003_mr"]


def test_links_to_files_of_other_names_tell_by_their_own(studies: Path, tmp_path: Path, config: Config) -> None:
    """Pseudonymised folders are often made of links."""
    links = tmp_path / "links"
    (links / "labels" / "final").mkdir(parents=True)
    for number, file in enumerate(sorted(studies.glob("*_*.nii.gz"))):
        file.rename(tmp_path / f"scan{number}.nii.gz")
        (links / file.name).symlink_to(tmp_path / f"scan{number}.nii.gz")
    for number, file in enumerate(sorted((studies / "labels" / "final").iterdir())):
        file.rename(tmp_path / f"label{number}.nii.gz")
        (links / "labels" / "final" / file.name).symlink_to(tmp_path / f"label{number}.nii.gz")
    datastore = FolderDatastore(str(links), config)
    labelled = {case.id: case for case in labelled_cases(datastore, NAMES)}
    assert {case.label.name for case in labelled.values() if case.label} == {
        "patient_000_ct.nii.gz",
        "patient_001.nii.gz",
    }
    assert labelled["patient_000"].modalities == {name: links / f"patient_000_{name}.nii.gz" for name in NAMES}


def test_next_offers_one_series_of_an_unlabelled_patient(
    datastore: FolderDatastore, live: LiveModel, folder: ModelFolder, publish: Callable[..., str]
) -> None:
    folder.path.mkdir(exist_ok=True)
    scores = ScoreStore(folder.scores)

    def offered() -> set[str]:
        ask = LookUp("random", live, scores, NAMES)
        answers = [ask({"seed": seed}, datastore) for seed in range(12)]
        assert {answer["pool"] for answer in answers} == {2}
        return {answer["id"] for answer in answers}

    assert offered() == {"patient_002_ct", "patient_003_mr"}
    publish({"ct": 0.3, "mr": 0.6})
    assert offered() == {"patient_002_mr", "patient_003_mr"}  # of the modality that was measured to be the stronger


def test_scoring_takes_one_series_of_each_patient(
    datastore: FolderDatastore, live: LiveModel, folder: ModelFolder, config: Config, publish: Callable[..., str]
) -> None:
    publish({"ct": 0.3, "mr": 0.6})
    scores = ScoreStore(folder.scores)
    assert UncertaintyScoring(live, scores, config, TrainStats(folder))({}, datastore)["scored"] == 4
    with live.use() as segmenter:
        assert scores.missing(["patient_002_ct", "patient_002_mr", "patient_003_mr"], segmenter.checksum) == [
            "patient_002_ct"
        ]
    folder.split.assign(cases_of(datastore, NAMES), validation=0.5)
    answer = DiceScoring(live, folder, NAMES)({}, datastore)
    assert set(answer["studies"]) == {"patient_000", "patient_001"}
    assert all(each["side"] in ("training", "validation") for each in answer["studies"].values())
    assert datastore.get_label_info("patient_000_ct", "final")["dice"] == answer["studies"]["patient_000"]


def test_a_study_is_segmented_by_its_name_and_an_upload_by_its_modality(
    live: LiveModel, studies: Path, tmp_path: Path, publish: Callable[..., str]
) -> None:
    task = SegmentationTask(live)
    assert "modality" not in task.info()["config"]
    publish({})
    assert task.info()["config"]["modality"] == ["auto", "ct", "mr"]
    upload = tmp_path / "tmp123.nii.gz"
    upload.write_bytes((studies / "patient_002_mr.nii.gz").read_bytes())
    by_name, by_request = (
        task(request)[0]
        for request in (
            {"image": studies / "patient_002_mr.nii.gz", "modality": ["auto", "ct", "mr"]},
            {"image": upload, "modality": ["mr"]},
        )
    )
    assert Path(by_name).read_bytes() == Path(by_request).read_bytes()
    with pytest.raises(StudyError, match="does not say its modality"):
        task({"image": upload})
    for file in (by_name, by_request):
        Path(file).unlink()


@pytest.fixture
def task(config: Config, studies: Path, folder: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> TrainingTask:
    monkeypatch.setattr(training, "tasks", lambda _: [])
    return TrainingTask(config, str(studies), folder)


def test_a_training_gets_the_patients(
    task: TrainingTask, datastore: FolderDatastore, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = SimpleNamespace()

    def train(cases: Any, labels: Any, config: Config, folder: ModelFolder, **listeners: Any) -> Result:
        given.cases = {case.id: (list(case.modalities), case.label is not None) for case in cases}
        return Result("0001", None, "done", Path("manifest.json"))

    monkeypatch.setattr(training, "train", train)
    task({}, datastore)
    both = ["ct", "mr"]
    assert given.cases == {
        "patient_000": (both, True),
        "patient_001": (both, True),
        "patient_002": (both, False),
        "patient_003": (["mr"], False),
    }


def test_what_no_training_could_use_is_refused_before_it_starts(
    task: TrainingTask, datastore: FolderDatastore, studies: Path, folder: ModelFolder, config: Config
) -> None:
    with pytest.raises(ConfigError, match="'modalities' belongs to the project"):
        task.check({"modalities": "ct"}, datastore)
    other = TrainingTask(config.replace(modalities=("ct", "pet")), str(studies), folder)
    with pytest.raises(ConfigError, match=r"No file matches \*_pet"):
        other.check({}, datastore)
    for label in (studies / "labels" / "final").iterdir():
        label.unlink()
    datastore._reconcile_datastore()
    with pytest.raises(NotReadyError, match="No study is labelled"):
        task.check({}, datastore)
