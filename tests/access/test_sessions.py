"""Sessions end when they should, survive a restart, and cannot be made up."""

from __future__ import annotations

import json
from pathlib import Path

import jwt
import pytest

from lib.access.people import Person, Role
from lib.access.sessions import Sessions
from lib.errors import ConfigError
from tests.clock import Clock

ANN = Person("ann", Role.READER)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model" / "sessions.json"


def test_a_session_says_who_and_ends_after_its_hours(file: Path, clock: Clock) -> None:
    sessions = Sessions(file, 12, clock)
    token = sessions.begin(ANN, {"stamp": "7"})
    found = sessions.read(token)
    assert found
    assert (found["sub"], found["noted"]) == ("ann", {"stamp": "7"})
    clock.now += 12 * 3600 - 1
    assert sessions.read(token)
    clock.now += 2
    assert sessions.read(token) is None


def test_it_survives_a_restart_and_so_does_its_end(file: Path, clock: Clock) -> None:
    sessions = Sessions(file, 12, clock)
    stays, ends = sessions.begin(ANN, {}), sessions.begin(ANN, {})
    sessions.end(ends)
    sessions.end("nonsense")
    for after in (sessions, Sessions(file, 12, clock)):
        assert after.read(stays)
        assert after.read(ends) is None
        assert after.cookie == sessions.cookie
    clock.now += 13 * 3600
    late = Sessions(file, 12, clock)
    late.end(late.begin(ANN, {}))
    assert len(json.loads(file.read_text())["ended"]) == 1, "what would have ended anyway is not kept"


def test_the_key_is_for_its_owner_only_and_each_project_has_its_own(file: Path, tmp_path: Path, clock: Clock) -> None:
    sessions, other = Sessions(file, 12, clock), Sessions(tmp_path / "other.json", 12, clock)
    assert file.stat().st_mode & 0o777 == 0o600
    assert other.read(sessions.begin(ANN, {})) is None
    assert other.cookie != sessions.cookie, "cookies are shared by all ports of a host"
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="can be read by others"):
        Sessions(file, 12, clock)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"key": "00", "ended": {}}', '{"key": "zz", "ended": {}}', "null"])
def test_a_damaged_key_is_said_so(file: Path, text: str) -> None:
    Sessions(file, 12)
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"is damaged .*: delete it"):
        Sessions(file, 12)


def test_forged_tokens_are_none(file: Path, clock: Clock) -> None:
    sessions = Sessions(file, 12, clock)
    key = json.loads(file.read_text())["key"]
    right = {"sub": "ann", "aud": "semiseg", "jti": "1", "exp": clock.now + 60, "noted": {}}
    assert sessions.read(jwt.encode(right, key, "HS256"))
    token = sessions.begin(ANN, {})
    head, body, signature = token.split(".")
    forged = [
        "",
        "a.b.c",
        jwt.encode(right, key="", algorithm="none"),
        jwt.encode(right, "another key of thirty-two letters..", "HS256"),
        jwt.encode(right, key, "HS512"),
        jwt.encode(right | {"aud": "another"}, key, "HS256"),
        jwt.encode({name: value for name, value in right.items() if name != "exp"}, key, "HS256"),
        jwt.encode({name: value for name, value in right.items() if name != "aud"}, key, "HS256"),
        f"{head}.{body}.",
        f"{head}.{body}.{signature[:-2]}AA",
        f"{head}.{body[:-2]}AA.{signature}",
    ]
    assert [text for text in forged if sessions.read(text)] == []
