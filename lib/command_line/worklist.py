"""Which study is next, for whom, and which are not wanted: the same store as the server's."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from lib.command_line.output import tell
from lib.command_line.project import project_folder, published
from lib.command_line.score import look, open_store, waiting_and_labelled
from lib.command_line.statuses import DONE
from lib.config import Config
from lib.errors import NotFoundError
from lib.selection.choose import choose_batch
from lib.studies.cases import find_cases


def run_next(options: argparse.Namespace, config: Config) -> int:
    """Name the next studies; what is not known of them yet is computed first, within ``score_minutes``."""
    segmenter = published(options, config) if project_folder(options, config).live else None
    waiting, labelled = waiting_and_labelled(options, config, segmenter)
    store = open_store(options, config)
    if config.strategy != "random" and waiting:
        look([*labelled, *waiting], segmenter, store, config)
    taken = store.leases.taken(options.reader)
    left = [case.id for case in waiting if case.id not in taken.leased | taken.skipped]
    model, done = segmenter.checksum if segmenter else None, [case.id for case in labelled]
    choices = choose_batch(config.strategy, left, store, model, config.seed, options.count, done)
    lines = [f"{each.id}  {'-' if each.score is None else f'{each.score:.4f}'}  {each.reason}" for each in choices]
    nothing = "The rest is open with other readers or skipped." if waiting else "Every study is labelled."
    tell(options, [asdict(choice) for choice in choices], "\n".join(lines) or nothing)
    return DONE


def run_skip(options: argparse.Namespace, config: Config) -> int:
    """Never offer a study to a reader again, or with ``--undo`` offer it as before."""
    if options.study not in {case.id for case in find_cases(options.studies)}:
        raise NotFoundError(f"There is no study '{options.study}' in {options.studies}")
    leases = open_store(options, config).leases
    if options.undo:
        changed = leases.unskip(options.study, options.reader)
        words = f"{options.study} is offered to {options.reader} {'again' if changed else 'as before'}."
    else:
        leases.skip(options.study, options.reader)
        words = f"{options.study} is not offered to {options.reader} any more."
    tell(options, {"study": options.study, "reader": options.reader, "skipped": not options.undo}, words)
    return DONE


def run_release(options: argparse.Namespace, config: Config) -> int:
    """Give back a study that is open with a reader, so that others are offered it."""
    changed = open_store(options, config).leases.release(options.study, options.reader)
    words = f"{options.study} is released." if changed else f"{options.study} was not open."
    tell(options, {"study": options.study, "released": bool(changed)}, words)
    return DONE
