"""The reference of the commands is the parser's; every command has a group, an example that works and ``--json``."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from lib.command_line import main
from lib.command_line.commands import COMMANDS as RUNS
from lib.command_line.parser import build_parser
from lib.command_line.reference import page
from lib.command_line.statuses import DONE, FAILED, INTERRUPTED
from lib.command_line.texts import COMMANDS

ROOT = Path(__file__).parents[1]


def test_the_page_is_what_the_code_prints() -> None:
    written = (ROOT / "docs/reference/command-line.md").read_text()
    assert written == page(), "replace it by the output of: python -m lib.command_line.reference"


def test_every_command_is_listed_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(COMMANDS) == {*RUNS, "users"}
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert [name for name in COMMANDS if f"\n  {name} " not in shown] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_the_example_of_a_command_can_be_typed_also_for_scripts(command: str, tmp_path: Path) -> None:
    words = [str(tmp_path) if word == "DIR" else word for word in shlex.split(COMMANDS[command].example)]
    parser = build_parser()
    assert parser.parse_args([command, *words]).command == command
    assert parser.parse_args([command, *words, "--json"]).json
    with pytest.raises(SystemExit):
        parser.parse_args([command, *words, "--no-such-option"])


def test_the_help_of_a_command_ends_with_its_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["restore", "--help"])
    assert "example:\n  main.py restore --studies DIR 0003\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("versions --studies {folder} --model {folder}", DONE),
        ("restore 0001 --studies {folder} --model {folder}", FAILED),
        ("versions --studies {folder}/missing", FAILED),
        ("", FAILED),
    ],
)
def test_the_status_says_how_it_ended(
    line: str, status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        ended = main(line.format(folder=tmp_path).split())
    except SystemExit as left:  # argparse, for a line that it does not understand
        ended = left.code
    assert (ended, bool(capsys.readouterr().err)) == (status, status != DONE)


def test_an_interrupted_command_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setitem(RUNS, "versions", interrupted)
    assert main(["versions", "--studies", str(tmp_path)]) == INTERRUPTED
