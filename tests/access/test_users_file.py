"""The users file: what it may hold, who may read it, and that changes count at once."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from lib.access.passwords import hash_password
from lib.access.people import Person, Role
from lib.access.users_file import User, UsersFile, changed_users, read_users
from lib.errors import ConfigError, LoginServerError

WORD = "{} and a long word"


def edit(file: Path, text: str) -> None:
    """As an editor does; the time stamp of a file changes every few milliseconds only."""
    file.write_text(text)
    os.utime(file, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns + 10_000_000))


def test_users_are_read_as_they_were_written_and_only_their_owner_may_read_them(users: Path) -> None:
    found = read_users(users)
    assert {name: user.role for name, user in found.items()} == {
        "ann": Role.READER, "rev": Role.REVIEWER, "boss": Role.ADMIN
    }  # fmt: skip
    assert users.stat().st_mode & 0o777 == 0o600
    assert WORD.format("ann") not in users.read_text()
    users.write_text(f"# a comment\n\n{users.read_text()}")
    assert read_users(users) == found


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o620, 0o666])
def test_a_file_that_others_may_read_or_change_is_refused(users: Path, mode: int) -> None:
    users.chmod(mode)
    with pytest.raises(ConfigError, match=re.escape(f"chmod 600 {users}")):
        read_users(users)


HASH = hash_password("correct horse")


@pytest.mark.parametrize(
    "line",
    [
        "zoe",
        "zoe reader",
        f"zoe king {HASH}",
        f"zoe READER {HASH}",
        f"../zoe reader {HASH}",
        f"server admin {HASH}",
        f"zoe reader {HASH} more",
        "zoe reader correct horse",
        "zoe reader correcthorse",
    ],
)
def test_a_damaged_line_is_named(users: Path, line: str) -> None:
    users.write_text(f"{users.read_text()}{line}\n")
    with pytest.raises(ConfigError, match="is damaged: line 5 is not of the form: name role hash"):
        read_users(users)


def test_what_is_missing_empty_or_double_is_refused(users: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"does not exist; .*users FILE add"):
        UsersFile(tmp_path / "none")
    lines = users.read_text()
    users.write_text(lines + lines.splitlines()[1])
    with pytest.raises(ConfigError, match="line 5 names a user twice"):
        UsersFile(users)
    users.write_text("# nobody yet\n")
    with pytest.raises(ConfigError, match="names no user"):
        UsersFile(users)
    users.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        UsersFile(users)


def test_name_and_password_are_asked_for_together(users: Path) -> None:
    known = UsersFile(users)
    assert known.login("ann", WORD.format("ann")) == Person("ann", Role.READER)
    for name, password in (("ann", WORD.format("rev")), ("ann", ""), ("eve", WORD.format("ann")), ("", "")):
        assert known.login(name, password) is None


def test_changes_count_at_once_and_are_told(users: Path) -> None:
    told: list[str] = []
    known = UsersFile(users, told.append)
    ann, rev = Person("ann", Role.READER), Person("rev", Role.REVIEWER)
    noted, other = known.remember(ann), known.remember(rev)
    with changed_users(users) as found:
        found["ann"] = User("ann", Role.ADMIN, found["ann"].hash)
        found["zoe"] = User("zoe", Role.READER, hash_password("zoe has a password"))
        del found["rev"]
    assert known.recall("ann", noted) == Person("ann", Role.ADMIN), "the role is the one of now"
    assert known.recall("rev", other) is None
    assert known.login("zoe", "zoe has a password")
    assert told == ["ann is admin now, reader before", "rev removed", "zoe added as reader"]
    with changed_users(users) as found:
        found["ann"] = User("ann", Role.ADMIN, hash_password("another password"))
    assert known.recall("ann", noted) is None, "a session of the old password has ended"
    assert told[3:] == ["ann has another password"]


def test_while_the_file_is_damaged_nobody_is_let_in(users: Path, caplog: pytest.LogCaptureFixture) -> None:
    known = UsersFile(users)
    noted, whole = known.remember(Person("ann", Role.READER)), users.read_text()
    for text in ("damaged", ""):
        edit(users, text)
        if text:
            with pytest.raises(LoginServerError) as told:
                known.recall("ann", noted)
            assert str(users) not in str(told.value), "that is for the log"
        else:
            assert known.recall("ann", noted) is None
    users.unlink()
    with pytest.raises(LoginServerError):
        known.login("ann", WORD.format("ann"))
    assert "is damaged: line 1" in caplog.text
    users.touch(mode=0o600)
    edit(users, whole)
    assert known.recall("ann", noted)


def test_a_change_that_fails_leaves_the_file_as_it_was(users: Path) -> None:
    before = users.read_text()

    def fail() -> None:
        with changed_users(users) as found:
            found.clear()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert users.read_text() == before
