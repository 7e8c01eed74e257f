"""Who may do what: people, their roles, and where they are known from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol


class Role(IntEnum):
    """What somebody may do; each role may do all that the ones before it may."""

    READER = 1  # see studies, segment, ask for the next one, submit labels
    REVIEWER = 2  # also add studies, change and delete labels of others
    ADMIN = 3  # also train, stop, score, segment in batches, delete studies, read the server's log

    @classmethod
    def named(cls, text: str) -> Role | None:
        """The role of this name in lower case, if there is one."""
        return next((role for role in cls if role.title == text), None)

    @property
    def title(self) -> str:
        """Its name as users files and messages have it."""
        return self.name.lower()


@dataclass(frozen=True)
class Person:
    """Somebody who has shown who he or she is."""

    name: str
    role: Role


class Directory(Protocol):
    """Where people are known from: a users file, or an identity provider."""

    def login(self, name: str, password: str) -> Person | None:
        """The person of this name and password; None if there is none, or the password is wrong."""

    def remember(self, person: Person) -> dict[str, Any]:
        """What a session notes about a person, so that :meth:`recall` finds out whether it still holds."""

    def recall(self, name: str, noted: Mapping[str, Any]) -> Person | None:
        """The person of a session as he or she is now; None if the session has ended by what has changed since."""

    def verify(self, token: str) -> Person | None:
        """The person of a bearer token that this server has not made; None if it is worth nothing."""
