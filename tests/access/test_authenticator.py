"""Logging in and out, as the audit log tells it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib.access.audit import AuditLog
from lib.access.authenticator import Authenticator
from lib.access.people import Person, Role
from lib.access.sessions import SERVER, Sessions
from lib.access.throttle import Throttle
from lib.access.users_file import UsersFile
from lib.errors import LoginError, TooOftenError

HERE = "10.0.0.1"


@pytest.fixture
def authenticator(users: Path, tmp_path: Path) -> Authenticator:
    return Authenticator(UsersFile(users), Sessions(tmp_path / "sessions.json", 12), AuditLog(tmp_path), Throttle())


def told(authenticator: Authenticator) -> list[tuple[str, str, str]]:
    return [(entry["what"], entry["who"], entry["from"]) for entry in authenticator.audit.entries()]


def test_a_login_is_a_session_until_the_logout(authenticator: Authenticator) -> None:
    token = authenticator.log_in("ann", "ann and a long word", HERE)
    assert authenticator.of_session(token) == Person("ann", Role.READER)
    authenticator.log_out(token, HERE)
    assert authenticator.of_session(token) is None
    authenticator.log_out(token, HERE)
    assert told(authenticator) == [("login", "ann", HERE), ("logout", "ann", HERE)]


def test_failures_are_all_alike_told_and_slowed(authenticator: Authenticator) -> None:
    sentences = set()
    for name in ("ann", "nobody", "ann"):
        with pytest.raises(LoginError) as failure:
            authenticator.log_in(name, "guess", HERE)
        sentences.add(str(failure.value))
    assert len(sentences) == 1, "whether there is such a user is nobody's business"
    with pytest.raises(TooOftenError):
        authenticator.log_in("rev", "rev and a long word", HERE)
    assert [what for what, _, _ in told(authenticator)] == ["login failed"] * 3 + ["login refused after failures"]
    assert "guess" not in authenticator.audit.file.read_text()


def test_the_servers_own_processes_are_let_in(authenticator: Authenticator) -> None:
    assert authenticator.of_session(authenticator.sessions.own_token()) == SERVER
    assert authenticator.of_session(authenticator.sessions.begin(Person("server", Role.READER), {})) is None, (
        "by that, not by the name"
    )
