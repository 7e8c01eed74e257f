"""Who a request comes from, for the parts below the access layer.

Without access control nobody is known: then a reader is who the request says, as in MONAI Label.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from monailabel.endpoints.user.auth import DEFAULT_USER, User
from starlette.types import ASGIApp, Receive, Scope, Send

from lib.access.audit import NOBODY
from lib.access.people import Person, Role

KEY = "semiseg.caller"  # in the scope of a request


@dataclass(frozen=True)
class Caller:
    """``person`` is None without access control, and where a process of the server's own works."""

    person: Person | None = None
    address: str = NOBODY

    @property
    def name(self) -> str:
        """For the audit log."""
        return self.person.name if self.person else NOBODY


NO_CALLER = Caller()
_caller: ContextVar[Caller] = ContextVar("caller", default=NO_CALLER)


class Known:
    """An ASGI layer, innermost: whom the access layer has let in is known to all that runs for the request."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with working(scope.get(KEY, NO_CALLER)):
            await self.app(scope, receive, send)


@contextmanager
def working(caller: Caller) -> Iterator[None]:
    """What is done in the block is this caller's work."""
    before = _caller.set(caller)
    try:
        yield
    finally:
        _caller.reset(before)


def caller() -> Caller:
    """Whose request is being answered."""
    return _caller.get()


def named(request: Mapping[str, Any]) -> dict[str, Any]:
    """The request, with the reader who is logged in as its ``client_id``, whatever it says itself."""
    person = caller().person
    return {**request} | ({"client_id": person.name} if person else {})


def reader(client: str) -> str:
    """The reader whose skips are meant: who is logged in, else who the request names."""
    person = caller().person
    return person.name if person else client


def holder(client: str | None) -> str | None:
    """The reader whose lease may be ended: one's own. A reviewer may end any, and so may all without access control."""
    person = caller().person
    return person.name if person and person.role < Role.REVIEWER else client


def monailabel_user() -> User:
    """In the place of MONAI Label's own look at the token, which refuses every one: the access layer has decided."""
    person = caller().person
    return DEFAULT_USER.model_copy(update={"username": person.name, "name": person.name} if person else {})
