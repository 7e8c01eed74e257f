"""The options of the commands. Nothing here computes, so that ``--help`` answers at once."""

from __future__ import annotations

import argparse
import dataclasses
import textwrap
from pathlib import Path

from lib.command_line.users_parser import add_users_parser
from lib.config import Config

SETTINGS = {field.name: field for field in dataclasses.fields(Config)}
COMPUTE = ("device", "threads")
COMMON = {  # the settings that --help explains for each command
    "train": ("method", "labels", "iterations", "epochs", "minutes", "seed", "pretrained", "size", "model", *COMPUTE),
    "infer": ("model", "overlap", *COMPUTE),
    "score": ("score_minutes", "model", *COMPUTE),
    "next": ("strategy", "score_minutes", "seed", "model", *COMPUTE),
    "evaluate": ("model", "overlap", *COMPUTE),
    "versions": ("model",),
    "restore": ("model",),
    "report": ("model", *COMPUTE),
    "export": ("labels", "modalities", "model", "threads"),
    "labels": ("keep_labels", "model"),
    "outlook": ("model",),
    "skip": ("model",),
    "release": ("model",),
    "audit": ("model",),
    "simulate": ("method", "labels", "iterations", "minutes", "validation", "size", *COMPUTE),
}
HELP = {
    "train": "learn from labelled and unlabelled studies; publish the model if it is no worse than the live one",
    "infer": "segment studies with the live model",
    "score": "look at all studies beforehand, so that the next one is named at once; torchrun shares the work",
    "next": "name the studies most worth labelling next",
    "evaluate": "compare the live model with the labels in labels/final: Dice, HD95 in mm, seconds",
    "versions": "list the published versions",
    "restore": "make an earlier version the live model again",
    "export": "write the live model or the labelled studies for other programs",
    "report": "write the report of a training again: settings, cases, curves, Dice of each study, pictures",
    "outlook": "estimate what the next labels would bring, by the trainings so far",
    "labels": "list the labels that were kept of each study, and go back to one of them",
    "skip": "never offer a study to a reader again",
    "release": "give back a study that is open with a reader, so that others are offered it",
    "audit": "print who did what on the server: labels, studies, trainings, models, logins",
    "simulate": "play the annotator on labelled studies: which strategy needs the fewest labels",
}
EXAMPLES = """\
examples:
  %(prog)s train --studies DIR --minutes 10
  %(prog)s infer --studies DIR --output predictions
  %(prog)s evaluate --studies DIR --json
  %(prog)s COMMAND --help"""


def build_parser() -> argparse.ArgumentParser:
    """All commands with their options."""
    parser = argparse.ArgumentParser(
        prog="main.py",
        description="Learn to segment from a few labelled and many unlabelled studies.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", title="commands", metavar="COMMAND", required=True)
    for name, text in HELP.items():
        command = commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=_other_settings(name),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        place = str if name in ("audit", "labels") else _folder  # its studies may be on a DICOM server
        command.add_argument(
            "--studies", type=place, required=True, metavar="DIR", help="images; their labels are in DIR/labels/final"
        )
        _add_own_options(command, name)
        _add_settings(command, name)
    add_users_parser(commands)
    return parser


def given_settings(options: argparse.Namespace) -> dict[str, str]:
    """The settings among the options, as text; ``--key value`` counts before ``--conf key value``."""
    return dict(options.conf) | {key: value for key, value in vars(options).items() if key in SETTINGS}


def _add_own_options(command: argparse.ArgumentParser, name: str) -> None:
    if name == "infer":
        command.add_argument(
            "--image",
            action="append",
            default=[],
            metavar="STUDY",
            help="id or file of an image; may be repeated (default: all unlabelled studies)",
        )
        command.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the labels")
        command.add_argument("--uncertainty", action="store_true", help="also write a map of the model's uncertainty")
    elif name == "next":
        command.add_argument("--count", type=_positive, default=1, metavar="N", help="how many studies (default: 1)")
        command.add_argument("--json", action="store_true", help="print JSON")
        command.add_argument("--reader", metavar="NAME", help="leave out what this reader skipped")
    elif name == "outlook":
        command.add_argument("--more", type=_positive, default=10, metavar="N", help="labels (default: 10)")
        command.add_argument("--json", action="store_true", help="print JSON")
    elif name in ("skip", "release"):
        command.add_argument("study", help="id of the study")
        command.add_argument("--reader", required=name == "skip", metavar="NAME", help="who, as client_id in requests")
        if name == "skip":
            command.add_argument("--undo", action="store_true", help="offer it to this reader again")
    elif name == "audit":
        command.add_argument("--last", type=_positive, default=0, metavar="N", help="only the last entries")
        command.add_argument("--json", action="store_true", help="print a line of JSON for each")
    elif name == "evaluate":
        command.add_argument(
            "--json", nargs="?", const="-", metavar="FILE", help="write JSON to FILE, or print it instead of the table"
        )
    elif name == "export":
        _add_export_options(command)
    elif name == "simulate":
        _add_simulation_options(command)
    elif name == "labels":
        command.add_argument("--study", metavar="ID", help="list those of this study, with their names")
        command.add_argument("--tag", default="final", help="of which tag (default: final)")
        command.add_argument("--restore", metavar="NAME", help="make this final label of the study count again")
    elif name == "report":
        command.add_argument("--run", metavar="NAME", help="folder in runs/ of the model folder (default: the latest)")
    elif name == "restore":
        command.add_argument("version", help="as the command versions lists it, e.g. 0003")


def _add_export_options(command: argparse.ArgumentParser) -> None:
    what = "new folder for the labelled studies in the form of the Medical Segmentation Decathlon"
    bundle = "new folder for the live model as a MONAI bundle, which monai.bundle runs without this program"
    command.add_argument("--bundle", type=Path, metavar="DIR", help=bundle)
    network = "file for the networks' mean probability of preprocessed patches"
    command.add_argument("--torchscript", type=Path, metavar="FILE", help=network)
    command.add_argument("--dataset", type=Path, metavar="DIR", help=what)
    command.add_argument("--unlabelled", action="store_true", help="with --dataset: the other studies as test images")
    command.add_argument("--series", metavar="NAME", help="of patients with several series: which modality")


def _add_simulation_options(command: argparse.ArgumentParser) -> None:
    several = "strategies to compare, with commas (default: hybrid,random)"
    command.add_argument("--strategy", dest="strategies", default="hybrid,random", metavar="A,B", help=several)
    for key, default, text in (
        ("--rounds", 5, "rounds of labelling and training"),
        ("--per-round", 4, "labels a round"),
        ("--seeds", 3, "seeds of each strategy"),
        ("--judged", None, "studies to judge on"),
    ):
        shown = f"{text} (default: {default or 'a fifth of those with labels'})"
        command.add_argument(key, type=_positive, default=default, metavar="N", help=shown)
    command.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for everything; it resumes")


def _add_settings(command: argparse.ArgumentParser, name: str) -> None:
    group = command.add_argument_group("settings")
    own = {"simulate": {"strategy", "seed", "model"}}.get(name, set())  # which are no setting there
    for key, field in SETTINGS.items():
        if key in own:
            continue
        spellings = dict.fromkeys((f"--{key}", f"--{key.replace('_', '-')}"))
        text = _explain(field) if key in COMMON[name] else argparse.SUPPRESS
        group.add_argument(*spellings, dest=key, default=argparse.SUPPRESS, metavar="VALUE", help=text)
    pair, text = ("KEY", "VALUE"), "any setting, as for the server"
    group.add_argument("--conf", nargs=2, action="append", default=[], metavar=pair, help=text)


def _explain(field: dataclasses.Field) -> str:
    parts = [field.metadata["unit"], ", ".join(field.metadata["choices"])]
    default = str(field.default).lower() if isinstance(field.default, bool) else field.default
    parts.append(f"default: {default}" if default not in ("", ()) else "")
    detail = "; ".join(part for part in parts if part)
    return (field.metadata["text"] + (f" ({detail})" if detail else "")).replace("%", "%%")


def _other_settings(name: str) -> str:
    others = ", ".join(key for key in SETTINGS if key not in COMMON[name])
    intro = f"All other settings can be given in the same way; the README explains them: {others}"
    return "\n".join(textwrap.wrap(intro, width=100)).replace("%", "%%")


def _folder(text: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"the folder {text} does not exist")
    return path


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(text)
