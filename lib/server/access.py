"""The access layer: before anything else answers, it is asked who is there and what his or her role allows.

It is an ASGI layer around the whole app, so MONAI Label's routes, the static viewer and the proxy are all behind it.
Without users all is open; the audit log is written either way.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lib.access.audit import AuditLog
from lib.access.authenticator import ENDED, Authenticator
from lib.access.people import Person
from lib.access.table import STUDY_KEYS, Entry, Table
from lib.errors import ForbiddenError, LoginError, NotFoundError, SemisegError
from lib.server.caller import KEY, Caller
from lib.server.failures import refuse

LOGIN = "/auth/login"
CHALLENGE = {"WWW-Authenticate": "Bearer"}  # RFC 6750, 3; not Basic, for which browsers ask with a window of their own
LONGEST_ANSWER = 2**16  # bytes of an answer that is looked into for the study's id


class Access:
    """An ASGI layer.

    Args:
        authenticator: None: there are no users, and everybody may do everything.
        prefix: of all routes.
    """

    def __init__(self, app: ASGIApp, authenticator: Authenticator | None, audit: AuditLog, prefix: str = "") -> None:
        self.app, self.authenticator, self.audit, self.prefix = app, authenticator, audit, prefix
        self.table = Table(prefix)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" and self.authenticator:
            await send({"type": "websocket.close", "code": 1008})  # no route has one
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        entry = self.table.find(scope["method"], route_path(scope))
        try:
            person = await self._person(Request(scope), entry) if self.authenticator else None
        except LoginError as error:
            if _is_navigation(Request(scope)):
                await RedirectResponse(self._login_address(scope), 303)(scope, receive, send)
            else:
                await refuse(scope, receive, send, error.status, str(error), CHALLENGE)
            return
        except SemisegError as error:
            await refuse(scope, receive, send, error.status, str(error))
            return
        caller = scope[KEY] = Caller(person, (scope.get("client") or ("-",))[0])
        if entry and entry.event:
            send = self._noting(entry, caller, Request(scope), send)
        await self.app(scope, receive, send)

    async def _person(self, request: Request, entry: Entry | None) -> Person | None:
        """Who may pass; None for a route that is open to everybody.

        Raises:
            LoginError, ForbiddenError: who may not. NotFoundError: there is no such route.
            SemisegError: it cannot be found out.
        """
        assert self.authenticator
        is_open = entry is not None and entry.role is None
        try:
            person = await self._known(request, self.authenticator)
        except SemisegError:
            if is_open:
                return None
            raise
        if person is None and not is_open:
            raise LoginError(ENDED)
        if entry is None:
            raise NotFoundError(f"There is no {request.method} {route_path(request.scope)} on this server")
        if person and entry.role and person.role < entry.role:
            raise ForbiddenError(
                f"You are logged in as '{person.name}' ({person.role.title}): this is for the role {entry.role.title}"
            )
        return person

    async def _known(self, request: Request, authenticator: Authenticator) -> Person | None:
        token = bearer(request)
        if token is None:
            return authenticator.of_session(request.cookies.get(authenticator.sessions.cookie, ""))
        return authenticator.of_session(token) or await asyncio.to_thread(authenticator.directory.verify, token)

    def _login_address(self, scope: Scope) -> str:
        root, query = scope.get("root_path", ""), scope["query_string"].decode("latin-1")
        target = f"{root}{quote(route_path(scope))}" + (f"?{query}" if query else "")
        return f"{root}{self.prefix}{LOGIN}?next={quote(target, safe='')}"

    def _noting(self, entry: Entry, caller: Caller, request: Request, send: Send) -> Send:
        """``send`` that writes the audit log before an answer of success leaves."""
        held: list[Message] = []

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                held.append(message)
                return
            if held:
                start = held.pop()
                if start["status"] < 400:
                    study = _study(request, message)
                    await asyncio.to_thread(
                        self.audit.write, entry.event, caller.name, caller.address, study=study, path=request.url.path
                    )
                await send(start)
            await send(message)

        return noting


def bearer(request: Request) -> str | None:
    """The token of the Authorization header; None if there is no such header, or one of another scheme."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def route_path(scope: Scope) -> str:
    """The path below the one that a reverse proxy adds, as the router takes it."""
    path, root = scope["path"], scope.get("root_path", "")
    return path[len(root) :] or "/" if root and (path == root or path.startswith(f"{root}/")) else path


def _is_navigation(request: Request) -> bool:
    """Whether somebody opens a page, rather than a program asking for data."""
    mode = request.headers.get("sec-fetch-mode", "navigate")
    return request.method == "GET" and mode == "navigate" and "text/html" in request.headers.get("accept", "")


def _study(request: Request, first: Message) -> str | None:
    """The study's id from the query, or else from the answer, where the server chose it."""
    asked = next((request.query_params[key] for key in STUDY_KEYS if key in request.query_params), None)
    body = first.get("body", b"")
    if asked or len(body) > LONGEST_ANSWER:
        return asked
    try:
        answer: Any = json.loads(body)
    except ValueError:
        return None
    return answer.get("image") if isinstance(answer, dict) else None
