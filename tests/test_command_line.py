"""The commands, called as the shell does, on phantoms; one training of a few iterations serves most of them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lib.command_line import main
from lib.command_line.commands import _stop_on_interrupt
from lib.command_line.parser import SETTINGS, build_parser, given_settings
from lib.command_line.texts import COMMANDS
from lib.config import Config
from lib.inference.model_file import Model
from lib.selection.store import ScoreStore
from lib.studies.phantom_pictures import write_pictures
from lib.studies.reading import read_volume
from lib.training import model_folder
from lib.training.model_folder import ModelFolder

ROOT = Path(__file__).parents[1]
SHORT = (
    "--method supervised --iterations 4 --patch 32,32,24 --overlap 0.1 --validations 1 --validation 0 --workers 0"
    " --device cpu"
)


@pytest.fixture(scope="module")
def trained(phantom_studies: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelFolder]:
    """The default model folder of ``phantom_studies``, in a place for tests, after a training by the command line."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_folder, "ROOT", tmp_path_factory.mktemp("project"))
        assert main(["train", "--studies", str(phantom_studies), *SHORT.split()]) == 0
        yield ModelFolder.of(Config(), phantom_studies)


def label(folder: Path, study: str) -> np.ndarray:
    return np.asarray(nib.load(folder / f"{study}.nii.gz").dataobj)


def test_help_answers_without_loading_torch() -> None:
    code = "import sys, lib.command_line.parser as p; p.build_parser().format_help(); print('torch' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "False"


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "users"])
def test_help_names_every_setting(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert [key for key in SETTINGS if key not in shown] == []


def test_every_setting_is_an_option_with_underscores_or_dashes(tmp_path: Path) -> None:
    start = ["evaluate", "--studies", str(tmp_path)]
    for key in SETTINGS:
        for option in (f"--{key}", f"--{key.replace('_', '-')}"):
            assert given_settings(build_parser().parse_args([*start, option, "x"])) == {key: "x"}


def test_an_option_counts_before_conf(tmp_path: Path) -> None:
    line = ["train", "--studies", str(tmp_path), "--conf", "seed", "1", "--seed", "2", "--conf", "ema", "0.9"]
    assert given_settings(build_parser().parse_args(line)) == {"seed": "2", "ema": "0.9"}


def test_train_publishes_with_the_given_settings_and_says_how_it_ended(
    trained: ModelFolder, phantom_studies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = Model.load(trained.live)
    assert (model.config.method, model.config.iterations, model.plan.patch) == ("supervised", 4, (32, 32, 24))
    assert main(["train", "--studies", str(phantom_studies), *SHORT.split(), "--seed", "5", "--iterations", "2"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert "published as version 0002" in printed[0]
    assert "what more labels bring needs 3 trainings" in printed[1]
    assert json.loads(Path(printed[2].removeprefix("Manifest: ")).read_text())["seed"] == 5


def test_train_as_json(phantom_studies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["train", "--studies", str(phantom_studies), "--model", str(tmp_path), *SHORT.split(), "--json"]
    assert main(line) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["version"], found["dice"], found["outlook"]["gain"]) == ("0001", None, None)
    assert "published as version 0001" in found["reason"]
    assert json.loads(Path(found["manifest"]).read_text())["version"] == "0001"


def test_versions_and_restore(trained: ModelFolder, phantom_studies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["restore", "0001", "--studies", str(phantom_studies)]) == 0
    assert Model.load(trained.live).version == "0001"
    capsys.readouterr()
    assert main(["versions", "--studies", str(phantom_studies)]) == 0
    assert "0001  live" in capsys.readouterr().out.splitlines()
    assert main(["versions", "--studies", str(phantom_studies), "--json"]) == 0
    assert {"version": "0001", "live": True} in json.loads(capsys.readouterr().out)
    assert main(["restore", "0001", "--studies", str(phantom_studies), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"version": "0001", "folder": str(trained.path)}
    assert main(["restore", "9999", "--studies", str(phantom_studies)]) == 2
    assert "9999" in capsys.readouterr().err


def test_infer_writes_the_unlabelled_studies_on_their_own_grid(
    trained: ModelFolder, phantom_studies: Path, tmp_path: Path
) -> None:
    line = ["infer", "--studies", str(phantom_studies), "--output", str(tmp_path / "out"), "--uncertainty"]
    assert main(line) == 0
    ids = ["phantom_003", "phantom_004", "phantom_005"]
    wanted = sorted(f"{study}{kind}.nii.gz" for study in ids for kind in ("", "_uncertainty"))
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == wanted
    image, found = (nib.load(folder / "phantom_003.nii.gz") for folder in (phantom_studies, tmp_path / "out"))
    assert found.shape == image.shape
    np.testing.assert_allclose(found.affine, image.affine, atol=1e-4)
    assert 0 <= label(tmp_path / "out", "phantom_003_uncertainty").max() <= 1


def test_infer_takes_ids_and_files_and_a_model_file(
    trained: ModelFolder, phantom_studies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = shutil.copy(phantom_studies / "phantom_005.nii.gz", tmp_path / "other.nii.gz")
    line = ["infer", "--studies", str(phantom_studies), "--output", str(tmp_path / "out"), "--model", str(trained.live)]
    assert main([*line, "--image", "phantom_000", "--image", str(elsewhere)]) == 0
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["other.nii.gz", "phantom_000.nii.gz"]
    capsys.readouterr()
    assert main([*line, "--image", "phantom_000", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["id"], found["file"]) == ("phantom_000", str(tmp_path / "out" / "phantom_000.nii.gz"))
    assert (found["uncertainty"], found["version"]) == (None, Model.load(trained.live).version)
    assert main([*line, "--image", "phantom_0001"]) == 2
    assert "did you mean 'phantom_001'?" in capsys.readouterr().err


def test_infer_never_replaces_images_or_submitted_labels(
    trained: ModelFolder, studies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {file: file.read_bytes() for file in studies.rglob("*.nii.gz")}
    for output in (studies, studies / "labels" / "final"):
        line = ["infer", "--studies", str(studies), "--output", str(output), "--model", str(trained.live)]
        assert main([*line, "--image", "phantom_000"]) == 2
        assert "name another folder" in capsys.readouterr().err
    assert {file: file.read_bytes() for file in studies.rglob("*.nii.gz")} == before


def test_evaluate_agrees_with_what_infer_writes(
    trained: ModelFolder, phantom_studies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = ["phantom_000", "phantom_001", "phantom_002"]
    line = ["infer", "--studies", str(phantom_studies), "--output", str(tmp_path)]
    main([*line, *(part for study in ids for part in ("--image", study))])
    file = tmp_path / "evaluation.json"
    capsys.readouterr()
    assert main(["evaluate", "--studies", str(phantom_studies), "--json", str(file)]) == 0
    table = capsys.readouterr().out
    report = json.loads(file.read_text())
    assert [case["id"] for case in report["cases"]] == report["trained_on"] == ids
    for case in report["cases"]:
        found, truth = label(tmp_path, case["id"]), label(phantom_studies / "labels" / "final", case["id"])
        for name, value in (("organ", 1), ("lesion", 2)):
            both = np.count_nonzero((found == value) & (truth == value))
            expected = 2 * both / (np.count_nonzero(found == value) + np.count_nonzero(truth == value))
            assert case["dice"][name] == pytest.approx(expected)
        assert f"{case['id']}*" in table, "it was trained on"
        assert f"{case['dice']['organ']:.3f}" in table
    mean = np.mean([[case["dice"]["organ"], case["dice"]["lesion"]] for case in report["cases"]])
    assert report["mean"]["dice"]["mean"] == pytest.approx(mean)
    assert f"Dice {mean:.3f}" in table


def test_a_bad_study_is_named_and_the_others_are_done(
    trained: ModelFolder, studies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (studies / "phantom_001.nii.gz").write_bytes(b"no image")
    (studies / "phantom_004.nii.gz").write_bytes(b"no image")
    model = ["--studies", str(studies), "--model", str(trained.live)]
    assert main(["evaluate", *model, "--json"]) == 2
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert [case["id"] for case in report["cases"]] == ["phantom_000", "phantom_002"]
    assert list(report["skipped"]) == ["phantom_001"]
    assert "Study 'phantom_001'" in printed.err
    assert main(["infer", *model, "--output", str(tmp_path / "out"), "--json"]) == 2
    printed = capsys.readouterr()
    assert "Study 'phantom_004'" in printed.err
    lines = [json.loads(line) for line in printed.out.splitlines()]
    assert [line["id"] for line in lines if "error" in line] == ["phantom_004"]
    assert [line["id"] for line in lines if "file" in line] == ["phantom_003", "phantom_005"]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["phantom_003.nii.gz", "phantom_005.nii.gz"]


def test_pictures_are_trained_on_segmented_into_png_and_evaluated_in_pixels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    studies, out = tmp_path / "pictures", tmp_path / "out"
    write_pictures(studies, 4, 3, size=(40, 24), ending=".jpg")
    (studies / "picture_003.jpg").rename(studies / "picture_003.JPG")
    line = ["--studies", str(studies), "--model", str(tmp_path / "model"), "--device", "cpu"]
    settings = ["--iterations", "2", "--validations", "1", "--workers", "0", "--method", "supervised"]
    assert main(["train", *line, *settings]) == 0
    assert main(["infer", *line, "--output", str(out), "--uncertainty"]) == 0
    assert sorted(file.name for file in out.iterdir()) == ["picture_003.png", "picture_003_uncertainty.nrrd"]
    assert read_volume(out / "picture_003.png")[0].shape == (40, 24, 1)
    capsys.readouterr()
    assert main(["evaluate", *line]) == 0
    printed = capsys.readouterr().out
    assert "pixels." in printed
    assert " mm" not in printed


def test_next_offers_the_highest_scores_first(
    trained: ModelFolder, phantom_studies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["next", "--studies", str(phantom_studies), "--strategy", "uncertainty"]
    assert main([*line, "--count", "2", "--json"]) == 0
    offered = json.loads(capsys.readouterr().out)
    scores = ScoreStore(trained.scores).get(Model.load(trained.live).checksum)
    waiting = {"phantom_003", "phantom_004", "phantom_005"}
    assert waiting < set(scores), "all were scored first, the labelled ones to be compared with"
    assert [each["id"] for each in offered] == sorted(waiting, key=lambda study: -scores[study])[:2]
    assert main(line) == 0
    assert capsys.readouterr().out.startswith(f"{offered[0]['id']}  {offered[0]['score']:.4f}  the live model")


def test_next_without_a_model_goes_by_look_and_ends_when_everything_is_labelled(
    studies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["next", "--studies", str(studies), "--model", str(tmp_path / "model"), "--count", "9"]
    assert main(line) == 0
    printed = capsys.readouterr().out
    assert sorted(row.split()[0] for row in printed.splitlines()) == ["phantom_003", "phantom_004", "phantom_005"]
    assert "there is no model yet; typical of" in printed.splitlines()[0]
    assert main([*line, "--strategy", "random"]) == 0
    assert capsys.readouterr().out.count("drawn at random from") == 3
    for study in ("phantom_003", "phantom_004", "phantom_005"):
        shutil.copy(studies / "labels/final/phantom_000.nii.gz", studies / f"labels/final/{study}.nii.gz")
    assert main(line) == 0
    assert capsys.readouterr().out == "Every study is labelled.\n"
    assert main([*line, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_score_as_json(studies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["score", "--studies", str(studies), "--model", str(tmp_path / "model"), "--json"]
    assert main(line) == 0
    assert json.loads(capsys.readouterr().out) == {"version": None, "done": 6, "studies": 6, "left": []}


def test_the_outlook_asks_for_trainings_first(
    trained: ModelFolder, phantom_studies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["outlook", "--studies", str(phantom_studies)]
    assert main(line) == 0
    assert "needs 3 trainings with different numbers of labels; so far there are 0" in capsys.readouterr().out
    assert main([*line, "--json", "--more", "4"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["more"], found["gain"]) == (4, None)


def test_what_a_reader_skips_or_another_has_open_is_not_next(
    studies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = ["--studies", str(studies), "--model", str(tmp_path / "model")]

    def offered(reader: str) -> set[str]:
        capsys.readouterr()
        assert main(["next", *own, "--strategy", "random", "--count", "9", "--json", "--reader", reader]) == 0
        return {each["id"] for each in json.loads(capsys.readouterr().out)}

    assert main(["skip", *own, "phantom_003", "--reader", "ann", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"study": "phantom_003", "reader": "ann", "skipped": True}
    ScoreStore(tmp_path / "model" / "scores.sqlite").leases.lease("phantom_004", "ben", 60)
    assert offered("ann") == {"phantom_005"}
    assert offered("ben") == {"phantom_003", "phantom_004", "phantom_005"}
    assert main(["release", *own, "phantom_004", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"study": "phantom_004", "released": True}
    assert main(["skip", *own, "phantom_003", "--reader", "ann", "--undo"]) == 0
    assert offered("ann") == {"phantom_003", "phantom_004", "phantom_005"}
    assert main(["skip", *own, "phantom_03", "--reader", "ann"]) == 2
    assert "There is no study 'phantom_03'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("evaluate --conf itrations 3", "did you mean 'iterations'?"),
        ("evaluate --method magic", "choose one of: multiscale, ideal, semi_cml"),
        ("evaluate --model {empty}", "train one first"),
        ("infer --output {empty} --model {empty}", "train one first"),
        ("train --model {file}", "needs the folder of a project"),
    ],
)
def test_a_failure_is_one_sentence_and_status_2(
    line: str, says: str, phantom_studies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "live.pt"
    file.touch()
    parts = line.format(empty=tmp_path / "empty", file=file).split()
    assert main([*parts, "--studies", str(phantom_studies)]) == 2
    printed = capsys.readouterr()
    assert says in printed.err
    assert len(printed.err.splitlines()) == 1
    assert printed.out == ""


def test_nothing_labelled_is_said(studies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(studies / "labels")
    for command in ("train", "evaluate"):
        assert main([command, "--studies", str(studies), "--model", str(tmp_path / "model")]) == 2
        assert "label" in capsys.readouterr().err.splitlines()[-1]


@pytest.fixture
def usual_interrupts() -> Iterator[None]:
    """Ctrl-C as in a terminal; a shell starts what runs in its background with interrupts ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("usual_interrupts")
def test_first_interrupt_asks_to_stop_and_the_second_ends() -> None:
    with _stop_on_interrupt() as should_stop:
        assert not should_stop()
        os.kill(os.getpid(), signal.SIGINT)
        assert should_stop()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
