"""What the help says of each command; ``--help`` and ``docs/reference/command-line.md`` are made of these tables."""

from __future__ import annotations

from dataclasses import dataclass

COMPUTE = ("device", "threads")


@dataclass(frozen=True)
class About:
    """A command for its reader.

    Attributes:
        text: what it does, without a capital and a full stop.
        example: what follows ``main.py COMMAND`` in a typical call.
        json: what ``--json`` prints.
        settings: those that its ``--help`` explains; the others are named only.
    """

    text: str
    example: str
    json: str
    settings: tuple[str, ...] = ()


GROUPS: dict[str, dict[str, About]] = {
    "learn and segment": {
        "train": About(
            "learn from labelled and unlabelled studies; publish the model if it is no worse than the live one",
            "--studies DIR --minutes 10",
            "`version` (null: not published), `dice`, `reason`, `manifest`, `outlook`",
            ("method", "labels", "iterations", "epochs", "minutes", "seed", "pretrained", "size", "model", *COMPUTE),
        ),
        "infer": About(
            "segment studies with the live model",
            "--studies DIR --output predictions --uncertainty",
            "a line for each study: `id`, `file`, `uncertainty`, `seconds`, `version`, `notes`; or `id`, `error`",
            ("model", "overlap", *COMPUTE),
        ),
        "evaluate": About(
            "compare the live model with the labels in labels/final: Dice, HD95 in mm, seconds",
            "--studies DIR --json evaluation.json",
            "`version`, `cases`, `mean`, `trained_on`, `skipped`; `--json FILE` writes them and prints the table",
            ("model", "overlap", *COMPUTE),
        ),
        "report": About(
            "write the report of a training again: settings, cases, curves, Dice of each study, pictures",
            "--studies DIR",
            "`report`: the file; the content itself is `report.json` beside it",
            ("model", *COMPUTE),
        ),
    },
    "choose what to label": {
        "next": About(
            "name the studies most worth labelling next",
            "--studies DIR --count 5",
            "a list, the first one first: `id`, `score`, `rank`, `pool`, `reason`, `model`",
            ("strategy", "score_minutes", "seed", "model", *COMPUTE),
        ),
        "score": About(
            "look at all studies beforehand, so that the next one is named at once; torchrun shares the work",
            "--studies DIR --score-minutes 60",
            "`version` (null: no model yet, so they were described), `done`, `studies`, `left`",
            ("score_minutes", "model", *COMPUTE),
        ),
        "outlook": About(
            "estimate what the next labels would bring, by the trainings so far",
            "--studies DIR --more 10",
            "`more`, `gain` of Dice, `low`, `high`, `reason` and what it was computed from",
            ("model",),
        ),
        "skip": About(
            "never offer a study to a reader again",
            "--studies DIR STUDY --reader ann",
            "`study`, `reader`, `skipped`",
            ("model",),
        ),
        "release": About(
            "give back a study that is open with a reader, so that others are offered it",
            "--studies DIR STUDY",
            "`study`, `released`",
            ("model",),
        ),
        "simulate": About(
            "play the annotator on labelled studies: which strategy needs the fewest labels",
            "--studies DIR --strategy hybrid,random --iterations 1000 --output simulation",
            "`strategies`: of each `auc`, `auc_sd`, `dice`; `files`",
            ("method", "labels", "iterations", "minutes", "validation", "size", *COMPUTE),
        ),
    },
    "go back": {
        "versions": About(
            "list the published versions",
            "--studies DIR",
            "a list, the oldest first: `version`, `live`",
            ("model",),
        ),
        "restore": About(
            "make an earlier version the live model again",
            "--studies DIR 0003",
            "`version`, `folder`",
            ("model",),
        ),
        "labels": About(
            "list the labels that were kept of each study, and go back to one of them",
            "--studies DIR --study STUDY",
            "a list of `study`, `kept`; with --study of `name`, `time`, `who`, `counts`; with --restore one of these",
            ("keep_labels", "model"),
        ),
    },
    "hand on": {
        "export": About(
            "write the live model or the labelled studies for other programs",
            "--studies DIR --bundle bundle",
            "a list: `kind`, `path`; of a model `version`, `difference`; of a data set `training`, `test`, `skipped`",
            ("labels", "modalities", "model", "threads"),
        ),
    },
    "who may, who did": {
        "users": About(
            "say who may log in to the server: add, change, remove or list the users of a file",
            "users.txt add ann --role reader",
            "of list a list of `name`, `role`; else `name`, `role` (null: removed)",
        ),
        "audit": About(
            "print who did what on the server: labels, studies, trainings, models, logins",
            "--studies DIR --last 20",
            "a line for each entry: `when`, `who`, `from`, `what` and more",
            ("model",),
        ),
    },
}
COMMANDS = {name: about for group in GROUPS.values() for name, about in group.items()}
