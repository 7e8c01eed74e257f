"""``users`` and ``audit`` of the command line."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lib.access.audit import AuditLog
from lib.access.people import Person, Role
from lib.access.users_file import UsersFile
from lib.command_line import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs ``users FILE ...`` with this text on the standard input; status, output and errors."""

    def command(*words: str, password: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(password))
        status = main(["users", str(tmp_path / "users"), *words])
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    return command


def test_users_are_added_changed_listed_and_removed(run: Run, tmp_path: Path) -> None:
    add = ("add", "ann", "--password-stdin")
    assert run(*add, "--role", "reader", password="a long password\n")[0] == 0
    assert run("add", "boss", "--role", "admin", "--password-stdin", password="another password")[0] == 0
    known = UsersFile(tmp_path / "users")
    assert known.login("ann", "a long password") == Person("ann", Role.READER)
    assert run("add", "ann", "--role", "reviewer")[0] == 0, "another role needs no password"
    assert known.login("ann", "a long password") == Person("ann", Role.REVIEWER)
    assert run(*add, password="a new password\n")[0] == 0, "another password needs no role"
    assert known.login("ann", "a new password") == Person("ann", Role.REVIEWER)
    assert run("list")[1] == "ann  reviewer\nboss  admin\n"
    assert json.loads(run("list", "--json")[1])[1] == {"name": "boss", "role": "admin"}
    assert json.loads(run("add", "ann", "--role", "reader", "--json")[1]) == {"name": "ann", "role": "reader"}
    assert json.loads(run("remove", "ann", "--json")[1]) == {"name": "ann", "role": None}
    assert run("list")[1] == "boss  admin\n"


@pytest.mark.parametrize(
    ("words", "password", "sentence"),
    [
        (("add", "ann", "--password-stdin"), "a long password", "ann is new: give a role"),
        (("add", "ann", "--role", "reader", "--password-stdin"), "short", "10 to 1024 characters"),
        (("add", "a b", "--role", "reader", "--password-stdin"), "a long password", "cannot be a name"),
        (("add", "server", "--role", "admin", "--password-stdin"), "a long password", "cannot be a name"),
        (("remove", "ann"), "", "There is no user 'ann'"),
        (("list",), "", "does not exist"),
    ],
)
def test_what_cannot_be_is_said(run: Run, words: tuple[str, ...], password: str, sentence: str) -> None:
    status, _, error = run(*words, password=password)
    assert status == 2
    assert sentence in error


def test_a_password_is_asked_for_twice(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = iter(["a long password", "a lnog password", "a long password", "a long password"])
    monkeypatch.setattr("getpass.getpass", lambda prompt: next(typed))
    assert "differ" in run("add", "ann", "--role", "reader")[2]
    assert run("add", "ann", "--role", "reader")[0] == 0


def test_the_audit_log_is_printed(studies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, where = AuditLog(tmp_path / "model"), ["--studies", str(studies), "--model", str(tmp_path / "model")]
    log.write("label submitted", "ann", "10.0.0.1", study="case 7")
    log.write("training started", "boss", "10.0.0.2")
    assert main(["audit", *where]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("ann  10.0.0.1  label submitted  study=case 7")
    assert second.endswith("boss  10.0.0.2  training started")
    assert main(["audit", *where, "--last", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["who"] == "boss"
