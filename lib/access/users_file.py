"""The users file: one line a user, ``name role hash``. Lines that begin with # are comments.

It is read again when it changes, so a user who was added may log in at once, and one who was removed is out.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from lib.access.passwords import fits, is_hash
from lib.access.people import Person, Role
from lib.errors import ConfigError, LoginServerError

logger = logging.getLogger(__name__)

NAME = re.compile(r"(?!server$)[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")  # the server is nobody's name
FORM = "name role hash, with a role of " + ", ".join(role.title for role in Role)
TOO_OPEN = stat.S_IWGRP | stat.S_IRWXO
HOW = "'python apps/semiseg/main.py users FILE add NAME --role admin' makes one"


@dataclass(frozen=True)
class User:
    """One line of the file."""

    name: str
    role: Role
    hash: str

    @property
    def stamp(self) -> str:
        """Changes with the password: a session that was begun with another one has ended."""
        return hashlib.sha256(self.hash.encode()).hexdigest()[:16]


def read_users(file: Path) -> dict[str, User]:
    """The users by name.

    Raises:
        ConfigError: it is missing, others than its owner may change it or read it, a line cannot be read, or a name
            stands in it twice.
    """
    try:
        mode = file.stat().st_mode
        text = file.read_text()
    except FileNotFoundError:
        raise ConfigError(f"The users file {file} does not exist; {HOW}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The users file {file} cannot be read ({error})") from None
    if mode & TOO_OPEN:
        raise ConfigError(f"The users file {file} can be read or changed by others; close it: chmod 600 {file}")
    users: dict[str, User] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        user = _user(line.split())
        if user is None or user.name in users:
            fault = "names a user twice" if user else f"is not of the form: {FORM}"
            raise ConfigError(f"The users file {file} is damaged: line {number} {fault}")
        users[user.name] = user
    return users


@contextmanager
def changed_users(file: Path) -> Iterator[dict[str, User]]:
    """The users to change in the block, empty for a new file; they are written in one step when the block ends well.

    Raises:
        ConfigError: see :func:`read_users`.
    """
    with FileLock(file.with_name(f".{file.name}.lock"), mode=0o600):
        users = read_users(file) if file.exists() else {}
        yield users
        lines = [f"{user.name} {user.role.title} {user.hash}\n" for user in users.values()]
        draft = file.with_name(f".{file.name}.{os.getpid()}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            out.writelines(["# name role hash (Argon2id); see docs/how-to/access.md\n", *lines])
            out.flush()
            os.fsync(out.fileno())
        os.replace(draft, file)


class UsersFile:
    """The people of a users file, as it is now.

    Args:
        changed: told of each user who was added, removed or changed since the file was last read, in words.

    Raises:
        ConfigError: the file cannot be used.
        LoginServerError: from every method, when it cannot be used any more. Until it can, nobody is let in.
    """

    def __init__(self, file: Path, changed: Callable[[str], None] = lambda change: None) -> None:
        self.file, self.changed = file, changed
        self._reading = threading.Lock()
        self._state: tuple[int, ...] = ()
        self._failed: tuple[int, ...] = ()
        self._users: dict[str, User] = {}
        if not self.users():
            raise ConfigError(f"The users file {file} names no user; {HOW.replace('makes one', 'adds one')}")

    def users(self) -> dict[str, User]:
        """The users by name."""
        with self._reading:
            state = _state(self.file)
            if state != self._state:
                users = self._read(state)
                if self._state:
                    _tell(self._users, users, self.changed)
                self._state, self._users = state, users
            return self._users

    def _read(self, state: tuple[int, ...]) -> dict[str, User]:
        try:
            return read_users(self.file)
        except ConfigError as error:
            if not self._state:
                raise
            if state != self._failed:
                logger.error("%s. Until then nobody is let in", error)
                self._failed = state
            raise LoginServerError("Who may log in cannot be read at the moment: the server's log says why") from None

    def login(self, name: str, password: str) -> Person | None:
        """See :class:`lib.access.people.Directory`. A name that nobody has takes as long as a wrong password."""
        user = self.users().get(name)
        return Person(user.name, user.role) if fits(password, user.hash if user else None) and user else None

    def remember(self, person: Person) -> dict[str, Any]:
        """The stamp of the password."""
        return {"stamp": self.users()[person.name].stamp}

    def recall(self, name: str, noted: Mapping[str, Any]) -> Person | None:
        """None after a change of the password, or when the user was removed. The role is the one of now."""
        user = self.users().get(name)
        return Person(name, user.role) if user and noted.get("stamp") == user.stamp else None

    def verify(self, token: str) -> None:
        """Tokens of others are worth nothing here."""


def _user(words: list[str]) -> User | None:
    if len(words) != 3:
        return None
    name, title, known = words
    role = Role.named(title)
    return User(name, role, known) if NAME.fullmatch(name) and role and is_hash(known) else None


def _state(file: Path) -> tuple[int, ...]:
    try:
        found = file.stat()
    except OSError:
        return (-1,)
    return found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode


def _tell(before: Mapping[str, User], now: Mapping[str, User], changed: Callable[[str], None]) -> None:
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if old is None and new:
            changed(f"{name} added as {new.role.title}")
        elif new is None:
            changed(f"{name} removed")
        elif old and old.role != new.role:
            changed(f"{name} is {new.role.title} now, {old.role.title} before")
        elif old and old.hash != new.hash:
            changed(f"{name} has another password")
