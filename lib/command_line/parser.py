"""The options of the commands. Nothing here computes, so that ``--help`` answers at once."""

from __future__ import annotations

import argparse
import dataclasses
import textwrap
from pathlib import Path

from lib.command_line.output import add_json
from lib.command_line.texts import COMMANDS, GROUPS
from lib.command_line.users_parser import add_users_options
from lib.config import Config

WIDTH = 100  # characters of a line of help
SETTINGS = {field.name: field for field in dataclasses.fields(Config)}
DESCRIPTION = """\
Learn to segment from a few labelled and many unlabelled studies.

Studies lie in a folder DIR, one file each; their labels in DIR/labels/final under the same names."""
START = """\
to begin with:
  %(prog)s train --studies DIR --minutes 10       learn; the model is kept in model/
  %(prog)s infer --studies DIR --output out       segment what has no label
  %(prog)s next --studies DIR                     which study to label, then train again

%(prog)s COMMAND --help explains one command, with an example; docs/reference/command-line.md all of them."""


def build_parser() -> argparse.ArgumentParser:
    """All commands with their options."""
    parser = argparse.ArgumentParser(
        prog="main.py",
        usage="%(prog)s COMMAND ...",
        description=DESCRIPTION,
        epilog="\n\n".join([*map(_listed, GROUPS), START]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    # without help argparse lists no command, because it would list them without their groups
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, help=argparse.SUPPRESS, prog=parser.prog
    )
    for name, about in COMMANDS.items():
        command = commands.add_parser(
            name,
            description=about.text[0].upper() + about.text[1:] + ".",
            epilog=_epilog(name),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        if name == "users":
            add_users_options(command)
            continue
        place = str if name in ("audit", "labels") else _folder  # its studies may be on a DICOM server
        command.add_argument(
            "--studies", type=place, required=True, metavar="DIR", help="images; their labels are in DIR/labels/final"
        )
        _add_own_options(command, name)
        if name != "evaluate":  # whose --json may name a file
            add_json(command)
        _add_settings(command, name)
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
        command.add_argument("--reader", metavar="NAME", help="leave out what this reader skipped")
    elif name == "outlook":
        command.add_argument("--more", type=_positive, default=10, metavar="N", help="labels (default: 10)")
    elif name in ("skip", "release"):
        command.add_argument("study", help="id of the study")
        command.add_argument("--reader", required=name == "skip", metavar="NAME", help="who, as client_id in requests")
        if name == "skip":
            command.add_argument("--undo", action="store_true", help="offer it to this reader again")
    elif name == "audit":
        command.add_argument("--last", type=_positive, default=0, metavar="N", help="only the last entries")
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
        text = _explain(field) if key in COMMANDS[name].settings else argparse.SUPPRESS
        group.add_argument(*spellings, dest=key, default=argparse.SUPPRESS, metavar="VALUE", help=text)
    pair, text = ("KEY", "VALUE"), "any setting, as for the server"
    group.add_argument("--conf", nargs=2, action="append", default=[], metavar=pair, help=text)


def _explain(field: dataclasses.Field) -> str:
    parts = [field.metadata["unit"], ", ".join(field.metadata["choices"])]
    default = str(field.default).lower() if isinstance(field.default, bool) else field.default
    parts.append(f"default: {default}" if default not in ("", ()) else "")
    detail = "; ".join(part for part in parts if part)
    return (field.metadata["text"] + (f" ({detail})" if detail else "")).replace("%", "%%")


def _listed(group: str) -> str:
    """The commands of a group, one line each."""
    lines = [
        textwrap.fill(about.text, WIDTH, initial_indent=f"  {name:<11}", subsequent_indent=" " * 13)
        for name, about in GROUPS[group].items()
    ]
    return "\n".join([f"{group}:", *lines])


def _epilog(name: str) -> str:
    """An example, and the settings that the options above do not explain."""
    about = COMMANDS[name]
    text = f"example:\n  %(prog)s {about.example}"
    if name == "users":
        return text
    others = ", ".join(key for key in SETTINGS if key not in about.settings)
    rest = f"All other settings are given in the same way; docs/reference/settings.md explains them: {others}"
    return f"{text}\n\n{textwrap.fill(rest, WIDTH)}"


def _folder(text: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"the folder {text} does not exist")
    return path


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(text)
