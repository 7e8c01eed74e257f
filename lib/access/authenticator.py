"""Logs people in and out, and says whose session a token is."""

from __future__ import annotations

from lib.access.audit import AuditLog
from lib.access.people import Directory, Person
from lib.access.sessions import SERVER, Sessions
from lib.access.throttle import Throttle
from lib.errors import LoginError, TooOftenError

ENDED = "You are not logged in, or your login has ended: log in (GET /auth/login, POST /auth/token)"


class Authenticator:
    """Of one server.

    Args:
        directory: where people are known from.
        audit: told of logins and failed ones.
    """

    def __init__(self, directory: Directory, sessions: Sessions, audit: AuditLog, throttle: Throttle) -> None:
        self.directory, self.sessions, self.audit, self.throttle = directory, sessions, audit, throttle

    def log_in(self, name: str, password: str, address: str) -> str:
        """Begin a session; returns its token.

        Raises:
            LoginError: a wrong name or password; which of them is not told.
            TooOftenError: too early after failures.
            SemisegError: the directory cannot be asked.
        """
        try:
            self.throttle.attempt(name, address)
        except TooOftenError:
            self.audit.write("login refused after failures", name, address)
            raise
        person = self.directory.login(name, password)
        if person is None:
            self.audit.write("login failed", name, address)
            raise LoginError("The name or the password is wrong")
        self.throttle.succeeded(name, address)
        self.audit.write("login", person.name, address, role=person.role.title)
        return self.sessions.begin(person, self.directory.remember(person))

    def log_out(self, token: str, address: str) -> None:
        """End a session; one that has ended stays so."""
        person = self.of_session(token)
        self.sessions.end(token)
        if person:
            self.audit.write("logout", person.name, address)

    def of_session(self, token: str) -> Person | None:
        """Whose session this is, as the person is now; None if it is none, or has ended.

        Raises:
            SemisegError: the directory cannot be asked.
        """
        claims = self.sessions.read(token)
        if claims is None:
            return None
        if claims.get("own"):
            return SERVER
        return self.directory.recall(claims["sub"], claims.get("noted", {}))
