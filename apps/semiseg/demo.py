"""``make demo``: learn from few labelled and many unlabelled studies, compare with learning from the few alone, serve.

1. Write the studies, 8 of 30 labelled: generated ones, or with ``--download`` the hippocampi of the Medical
   Segmentation Decathlon. Half of the labels are for learning, half for validation.
2. Train the same network twice for as many iterations: ``supervised`` on the labels, ``multiscale`` on all studies.
3. Evaluate both on studies that neither has seen: a table, and ``overlay.png``.
4. Score the unlabelled studies and serve all with the semi-supervised model, for 3D Slicer or a browser.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import socket
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lib.config import Config
from lib.errors import SemisegError
from lib.inference.evaluation import Evaluation, evaluate, summary
from lib.inference.model_file import Model
from lib.inference.overlay import Row, draw_overlay
from lib.inference.segmenter import Segmenter
from lib.selection.scoring import score_studies
from lib.selection.store import ScoreStore
from lib.studies.cases import Case, find_cases
from lib.studies.labels import LabelMap, label_map, read_label
from lib.studies.orientation import to_ras
from lib.studies.phantoms import write_studies
from lib.studies.reading import read_volume
from lib.training.model_folder import ModelFolder
from lib.training.progress import Bar
from lib.training.train import train

STUDIES, LABELLED, HELD_OUT = 30, 8, 10
VALIDATION = 0.5  # so that the page has a Dice to show
SUPERVISED = 0.2  # share of the time; two networks and their contrast take the rest for as many iterations
HARD = {"contrast": 1.3, "deformation": 0.14, "distractors": 9, "noise": 0.06}  # 4 labels do not show all of this
PATCH = (48, 48, 32)  # smaller than the default, so that more iterations fit the minutes
TASK = "Task04_Hippocampus"  # 260 cropped MR studies, 28 MB, CC BY-SA 4.0
HOST = "127.0.0.1"


def main() -> int:
    """Run the steps; returns the exit status. A step that fails says why in one sentence."""
    options = read_options()
    warnings.filterwarnings("ignore", module="monai")  # of its own old calls, nothing that a reader can mend
    try:
        if options.serve:
            check_port(options.port)
        studies, held_out = (download if options.download else generate)(options.folder, options.seed)
        project = ModelFolder((options.folder / "model").resolve())
        models = train_both(studies, project, options.minutes, options.seed)
        compare(models, find_cases(held_out), options.folder / "overlay.png")
        score(project, find_cases(studies))
    except (SemisegError, OSError) as error:
        print(f"The demo ends here: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted", file=sys.stderr)
        return 130
    if options.serve:
        serve(studies, project, options.port)
    return 0


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("demo"), help="where everything is written (demo)")
    parser.add_argument("--minutes", type=float, default=6.0, help="for both trainings together (6)")
    parser.add_argument("--seed", type=int, default=0, help="of studies, weights and patches (0)")
    parser.add_argument("--download", action="store_true", help=f"train on {TASK}, which needs a network")
    parser.add_argument("--port", type=int, default=8000, help="of the server (8000)")
    parser.add_argument("--no-serve", dest="serve", action="store_false", help="end before serving, as SERVE=0 does")
    parser.set_defaults(serve=os.environ.get("SERVE", "1") != "0")
    return parser.parse_args()


def generate(folder: Path, seed: int) -> tuple[Path, Path]:
    """Generated studies; returns the folder to train on and the one with the held-out studies."""
    write_studies(folder / "studies", STUDIES, LABELLED, seed, **HARD)
    write_studies(folder / "held_out", HELD_OUT, HELD_OUT, seed, first=STUDIES, **HARD)
    return folder / "studies", folder / "held_out"


def download(folder: Path, seed: int) -> tuple[Path, Path]:
    """The same from the Decathlon: four in five studies to train on, of which 8 keep their labels."""
    from monai.apps import DecathlonDataset  # takes seconds to import

    archive = folder / "download"
    archive.mkdir(parents=True, exist_ok=True)
    missing = not (archive / TASK / "dataset.json").is_file()
    folders = {"training": (folder / "hippocampi", LABELLED), "validation": (folder / "hippocampi_held_out", None)}
    for section, (target, labelled) in folders.items():
        try:
            found = DecathlonDataset(archive, TASK, section, download=missing, seed=seed, cache_rate=0.0)
        except Exception as error:  # MONAI raises no narrower kind when there is no network
            reason = f"{TASK} could not be downloaded; without --download the studies are generated ({error})"
            raise SemisegError(reason) from error
        (target / "labels" / "final").mkdir(parents=True, exist_ok=True)
        for item in found.data:
            shutil.copy(item["image"], target)
        for item in found.data[:labelled]:
            shutil.copy(item["label"], target / "labels" / "final")
        names = {name: int(value) for value, name in found.get_properties("labels")["labels"].items() if int(value)}
        (target / "dataset.json").write_text(json.dumps({"labels": names}))
    return folders["training"][0], folders["validation"][0]


def train_both(studies: Path, project: ModelFolder, minutes: float, seed: int) -> dict[str, Path]:
    """Train by both methods, one after the other in one project; returns the model file of each.

    The second goes live whatever its Dice, so that there are two to compare; usually a worse one does not.
    """
    cases = find_cases(studies)
    config = Config(minutes=SUPERVISED * minutes, patch=PATCH, validation=VALIDATION, pretrained=False, seed=seed)
    config = config.replace(method="supervised", model=str(project.path), publish="always")
    labels = label_map(config, studies, cases)
    labelled = sum(case.label is not None for case in cases)
    print(f"{len(cases)} studies in {studies.resolve()}, {labelled} of them labelled")
    print(f"Training supervised, then multiscale: about {minutes:g} minutes", flush=True)
    shutil.rmtree(project.path, ignore_errors=True)  # of an earlier demo
    first = train(cases, labels, config, project, Bar("supervised"))
    iterations = json.loads(first.manifest.read_text())["iterations"]
    config = config.replace(method="multiscale", iterations=iterations)
    second = train(cases, labels, config, project, Bar("multiscale"))
    return {
        method: project.path / "versions" / f"{done.version}.pt"
        for method, done in (("supervised", first), ("multiscale", second))
    }


def compare(models: dict[str, Path], cases: Sequence[Case], picture: Path) -> None:
    """Print the table of both models on the held-out studies and draw three of these."""
    segmenters = {method: Segmenter.load(path) for method, path in models.items()}
    labels = segmenters["supervised"].labels
    found = {}
    for method, segmenter in segmenters.items():
        found[method], skipped = evaluate(segmenter, cases, labels)
        if skipped:
            raise SemisegError(" ".join(skipped.values()))
    iterations = Model.load(models["supervised"]).metrics["iterations"]
    print(f"\nAfter {iterations} iterations each, on {len(cases)} held-out studies:\n")
    print_table(found, labels.names)
    order = sorted(range(len(cases)), key=lambda place: mean_dice(found["multiscale"][place]))
    shown = [order[-1], order[len(order) // 2], order[0]]  # best, median and worst, so that nothing is hidden
    rows = [draw_row(cases[i], segmenters, {method: each[i] for method, each in found.items()}, labels) for i in shown]
    draw_overlay(picture, rows, labels.values)
    print(f"\nThe best, the median and the worst of them: {picture.resolve()}\n")


def score(project: ModelFolder, cases: Sequence[Case]) -> None:
    """How unsure the live model is of each unlabelled study, so that the server knows which one to offer first."""
    assert project.live is not None
    unlabelled = [case for case in cases if not case.label]
    score_studies(Segmenter.load(project.live), unlabelled, ScoreStore(project.scores), minutes=1)


def print_table(found: dict[str, list[Evaluation]], names: Sequence[str]) -> None:
    """Means over the studies: Dice of each class and of all, HD95 of all; missed: classes not found at all."""
    heads = [*(f"Dice {name}" for name in names), "mean Dice", "HD95 in mm", "missed"]
    print(" " * 14 + "".join(f"{head:>16}" for head in heads))
    for method, evaluations in found.items():
        means = summary(evaluations)
        dice = [means["dice"]["classes"][name] for name in names] + [means["dice"]["mean"]]
        distance = "none" if means["hd95"]["mean"] is None else f"{means['hd95']['mean']:.1f}"
        cells = [*(f"{value:.3f}" for value in dice), distance, str(means["missed"])]
        print(f"{method:14}" + "".join(f"{cell:>16}" for cell in cells))


def draw_row(case: Case, segmenters: dict[str, Segmenter], found: dict[str, Evaluation], labels: LabelMap) -> Row:
    """The study as a row of the overlay, turned to RAS."""
    image, affine = read_volume(case.image)
    results = {method: segmenter(case.image, uncertainty=True) for method, segmenter in segmenters.items()}
    reference = labels.to_values(read_label(case, labels, image.shape, affine))
    turned, spacing, _ = to_ras(image, affine)
    predictions = {method: to_ras(result.label, affine)[0] for method, result in results.items()}
    dice = {method: mean_dice(evaluation) for method, evaluation in found.items()}
    uncertainty = to_ras(results["multiscale"].uncertainty, affine)[0]
    return Row(case.id, turned, to_ras(reference, affine)[0], predictions, dice, uncertainty, tuple(spacing))


def mean_dice(evaluation: Evaluation) -> float:
    """Mean over the classes."""
    return sum(evaluation.dice.values()) / len(evaluation.dice)


def check_port(port: int) -> None:
    """Refuse a port in use before the training, not after it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise SemisegError(f"Port {port} cannot be used ({error}); name another with --port") from error


def serve(studies: Path, project: ModelFolder, port: int) -> None:
    """Become the server: the plain command that you would type for your own studies."""
    command = ["monailabel", "start_server", "--app", str(Path(__file__).resolve().parent)]
    command += ["--studies", str(studies.resolve()), "--host", HOST, "--port", str(port)]
    command += ["--conf", "model", str(project.path)]
    print(shlex.join(command))
    print(f"\nWhere it stands:   http://{HOST}:{port}/semiseg/  (open it in a browser)")
    print(f"What it offers:    http://{HOST}:{port}/info/")
    print(f"All its requests:  http://{HOST}:{port}/")
    print(f"In 3D Slicer:      module MONAILabel, server http://{HOST}:{port}, then Next Sample and Run\n", flush=True)
    os.execv(sys.executable, [sys.executable, "-m", "monailabel.main", *command[1:]])


if __name__ == "__main__":
    sys.exit(main())
