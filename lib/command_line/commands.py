"""What each command does: read the studies and the model folder, call the room that knows how, print."""

from __future__ import annotations

import argparse
import difflib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from lib.access.audit import AuditLog, operator
from lib.command_line.export import run_export
from lib.command_line.labels import run_labels
from lib.command_line.outlook import run_outlook
from lib.command_line.output import json_line, tell
from lib.command_line.project import project_folder, published, study_bar, together
from lib.command_line.report import run_report
from lib.command_line.score import run_score
from lib.command_line.simulate import run_simulate
from lib.command_line.statuses import DONE, FAILED
from lib.command_line.table import evaluation_table
from lib.command_line.users import run_audit
from lib.command_line.worklist import run_next, run_release, run_skip
from lib.config import Config
from lib.errors import ConfigError, NotFoundError, NotReadyError, StudyError
from lib.inference.evaluation import evaluate, summary
from lib.inference.model_file import Model
from lib.inference.segmenter import Segmentation
from lib.selection.outlook import outlook
from lib.studies.cases import TRAINING, Case, find_cases, is_picture, study_id
from lib.studies.labels import label_map
from lib.studies.modalities import project_cases, single_series
from lib.training.distribution import first, summed
from lib.training.progress import Bar
from lib.training.rounds import learning_curve
from lib.training.train import train


def run_train(options: argparse.Namespace, config: Config) -> int:
    """Train; the first Ctrl-C ends it gracefully with what it has learnt so far."""
    folder = project_folder(options, config)
    cases = project_cases(options.studies, config.modalities)
    speaks = os.environ.get("RANK", "0") == "0"  # under torchrun one process speaks for all
    with _stop_on_interrupt() as should_stop, logging_redirect_tqdm():
        labels = label_map(config, options.studies, cases)
        result = train(cases, labels, config, folder, Bar(config.method) if speaks else None, should_stop)
    if speaks:
        ahead = outlook(learning_curve(folder))
        found = {
            "version": result.version,
            "dice": result.metric,
            "reason": result.reason,
            "manifest": str(result.manifest),
            "outlook": asdict(ahead),
        }
        tell(options, found, f"{result.reason}.\n{ahead.reason}\nManifest: {result.manifest}")
    return DONE


def run_infer(options: argparse.Namespace, config: Config) -> int:
    """Segment the named studies, or all unlabelled ones, into the output folder."""
    cases = [case for case in project_cases(options.studies, config.modalities) if not case.label]
    wanted = [_named(text, find_cases(options.studies)) for text in options.image] or single_series(cases)
    targets = {case.id: options.output / f"{case.id}{_ending(case)}" for case in wanted}
    for case in wanted:
        if targets[case.id].resolve() in {file.resolve() for file in (case.image, case.label) if file}:
            raise ConfigError(f"--output {options.output} would replace files of the studies; name another folder")
    with together(config) as (own, (rank, processes)):
        failed = _infer(options, own, wanted[rank::processes], targets)
        return FAILED if summed(failed) else DONE


def _infer(options: argparse.Namespace, config: Config, wanted: Sequence[Case], targets: Mapping[str, Path]) -> int:
    """Segment these; how many could not be."""
    segmenter = published(options, config)
    options.output.mkdir(parents=True, exist_ok=True)
    failed = 0
    for case in tqdm(wanted, "infer", unit="study", disable=not (sys.stderr.isatty() and first())):
        try:
            found = segmenter(case.image, uncertainty=options.uncertainty)
        except StudyError as error:
            failed += 1
            tqdm.write(str(error), file=sys.stderr)
            if options.json:
                tqdm.write(json_line({"id": case.id, "error": str(error)}), file=sys.stdout)
            continue
        found.save(targets[case.id])
        unsure = None
        if found.uncertainty is not None:
            ending = ".nrrd" if is_picture(case.image) else _ending(case)  # a PNG holds whole numbers only
            unsure = options.output / f"{case.id}_uncertainty{ending}"
            found.save(unsure, found.uncertainty)
        tqdm.write(_segmented(case, targets[case.id], unsure, found, options.json), file=sys.stdout)
    return failed


def _segmented(case: Case, file: Path, unsure: Path | None, found: Segmentation, as_json: bool) -> str:
    """A line about a study that was segmented."""
    seconds = sum(found.seconds.values())
    if not as_json:
        notes = f"  ({'; '.join(found.notes)})" if found.notes else ""
        return f"{case.id}  {file}  {seconds:.1f} s{notes}"
    about = {"id": case.id, "file": str(file), "uncertainty": str(unsure) if unsure else None}
    return json_line(about | {"seconds": round(seconds, 3), "version": found.version, "notes": list(found.notes)})


def run_evaluate(options: argparse.Namespace, config: Config) -> int:
    """Compare the model with the submitted labels."""
    cases = [case for case in project_cases(options.studies, config.modalities) if case.label]
    if not cases:
        raise NotReadyError(f"No study in {options.studies} has a label in labels/final to compare with")
    segmenter = published(options, config)
    with study_bar("evaluate") as progress:
        done, skipped = evaluate(segmenter, cases, segmenter.labels, progress, every_series=True)
    # another project's ids mean other studies
    sides = {} if config.model else project_folder(options, config).split.sides
    patient = {study_id(file): case.id for case in cases for file in case.modalities.values()}
    learnt = [each.id for each in done if sides.get(patient.get(each.id, each.id)) == TRAINING]
    if options.json:
        report = {
            "version": segmenter.version,
            "cases": [each.to_dict() for each in done],
            "mean": summary(done),
            "trained_on": learnt,
            "skipped": skipped,
        }
        text = json.dumps(report, indent=1, allow_nan=False)
        print(text) if options.json == "-" else Path(options.json).write_text(text + "\n")
    if options.json != "-":
        unit = "pixels" if all(is_picture(case.image) for case in cases) else "mm"
        print(evaluation_table(done, learnt, unit))
    for sentence in skipped.values():
        print(sentence, file=sys.stderr)
    return FAILED if skipped else DONE


def run_versions(options: argparse.Namespace, config: Config) -> int:
    """List the versions, oldest first."""
    folder = project_folder(options, config)
    live = Model.load(folder.live).version if folder.live else None
    found = [{"version": version, "live": version == live} for version in folder.versions()]
    lines = [f"{each['version']}  live" if each["live"] else f"{each['version']}" for each in found]
    tell(options, found, "\n".join(lines) or f"No version is published in {folder.path} yet.")
    return DONE


def run_restore(options: argparse.Namespace, config: Config) -> int:
    """Go back to a version."""
    folder = project_folder(options, config)
    folder.restore(options.version)
    AuditLog(folder.path).write("model restored", operator(), "command line", version=options.version)
    found = {"version": options.version, "folder": str(folder.path)}
    tell(options, found, f"Version {options.version} is live in {folder.path}.")
    return DONE


COMMANDS: dict[str, Callable[[argparse.Namespace, Config], int]] = {
    "train": run_train,
    "infer": run_infer,
    "score": run_score,
    "next": run_next,
    "outlook": run_outlook,
    "evaluate": run_evaluate,
    "versions": run_versions,
    "restore": run_restore,
    "report": run_report,
    "export": run_export,
    "labels": run_labels,
    "skip": run_skip,
    "release": run_release,
    "simulate": run_simulate,
    "audit": run_audit,
}


def _named(text: str, cases: Sequence[Case]) -> Case:
    """The study of this id, or the image file of this path."""
    by_id = {case.id: case for case in cases}
    if text in by_id:
        return by_id[text]
    if Path(text).exists():
        return Case(study_id(text), Path(text))
    near = difflib.get_close_matches(text, by_id, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    raise NotFoundError(f"Image '{text}' is neither the id of a study nor a file{hint}")


def _ending(case: Case) -> str:
    """Of a label: as its image has it, and .png for all pictures, because JPEG would change the values."""
    return ".png" if is_picture(case.image) else case.image.name[len(case.id) :]


@contextmanager
def _stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """A function that is true from the first Ctrl-C on; the second ends the program as usual. SIGTERM, which a server
    sends where its client presses Stop, is as the first one."""
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        signal.signal(signal.SIGINT, before)
        print("Stopping with what is learnt so far; Ctrl-C again ends at once.", file=sys.stderr)

    before, before_end = signal.signal(signal.SIGINT, ask), signal.signal(signal.SIGTERM, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)
        signal.signal(signal.SIGTERM, before_end)
