"""The outermost check of a request: from which page, under which name and from which machine it comes.

A web page that a reader happens to open can send requests to any server the reader's machine reaches. What it may do
there is decided here: it cannot change anything (cross-site request forgery), cannot read an answer (CORS stays closed
but for the origins of the settings), and cannot pass for a page of this server by a name of its own that it lets point
here (DNS rebinding), because only the server's own names are answered.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import sys
from collections.abc import Sequence
from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lib.config import Config
from lib.server.failures import refuse

SAFE = ("GET", "HEAD", "OPTIONS")  # methods that change nothing (RFC 9110 9.2.1)
HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")  # RFC 3986 3.2.2, as far as servers are named
ON_EACH_ANSWER = {
    "X-Content-Type-Options": "nosniff",  # an uploaded file never runs as a script
    "Content-Security-Policy": "frame-ancestors 'self'",  # no other page shows this one within itself
    "Referrer-Policy": "same-origin",  # ids of studies stand in addresses
    "Cross-Origin-Resource-Policy": "same-origin",  # no other page embeds an image of ours
}
ANY = "*"
MOST_HEADERS = 1 << 16  # bytes


class Guard:
    """An ASGI layer that refuses requests as the module says, and puts security headers on each answer.

    Args:
        hosts: names by which clients may call the server, in lower case; ``*`` among them: any. Addresses in numbers
            are always right: a page cannot let a number point elsewhere.
        origins: such as ``https://viewer.example.org``: pages of other servers that may use this one.
        here_only: answer this machine only.
    """

    def __init__(
        self, app: ASGIApp, hosts: Sequence[str], origins: Sequence[str] = (), here_only: bool = False
    ) -> None:
        self.hosts, self.origins, self.here_only = set(hosts), set(origins), here_only
        self.app = app
        if origins:
            self.app = CORSMiddleware(
                app, list(origins), allow_methods=["*"], allow_headers=["*"], allow_credentials=True
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=list(message.get("headers", [])))
                for name, value in ON_EACH_ANSWER.items():
                    headers.setdefault(name, value)
                message = {**message, "headers": headers.raw}
            await send(message)

        status, sentence = self._fault(scope)
        if status:
            await refuse(scope, receive, guarded, status, sentence)
        else:
            await self.app(scope, receive, guarded)

    def _fault(self, scope: Scope) -> tuple[int, str]:
        """Status and sentence of a refusal; 0 if there is nothing to refuse."""
        headers = Headers(scope=scope)
        if sum(len(name) + len(value) + 4 for name, value in scope["headers"]) > MOST_HEADERS:
            return 431, f"The headers of the request are longer than {MOST_HEADERS} bytes"
        host = _name(headers.getlist("host"))
        if self.here_only and not _is_here(scope):
            remedy = "start it with --host 0.0.0.0 (or one of its addresses) if it is to answer others"
            return 403, f"This server answers its own machine only; {remedy}"
        if host is None or not (ANY in self.hosts or host in self.hosts or _is_number(host)):
            shown = f"'{host}'" if host else "what the request says"
            remedy = f"use another one, or start it with --conf hosts {host or 'NAME'}"
            return 400, f"This server is not known by the name {shown}; {remedy}"
        if scope["method"] not in SAFE and self._comes_from_another_site(headers):
            remedy = "pages of other servers need --conf origins https://their.name"
            return 403, f"A page of another server may not change anything here; {remedy}"
        return 0, ""

    def _comes_from_another_site(self, headers: Headers) -> bool:
        """By what browsers say of the page, which that cannot forge. Other programs say neither."""
        origins = headers.getlist("origin")
        if origins and set(origins) <= self.origins:
            return False
        if origins:
            return any(_netloc(origin) != headers.get("host", "").lower() for origin in origins)
        return headers.get("sec-fetch-site", "none") not in ("none", "same-origin")


def guarded(app: ASGIApp, config: Config) -> Guard:
    """The layer as the settings and the command line of ``monailabel start_server`` say."""
    bound = bound_host(sys.argv)
    names = [name.lower() for name in (*config.hosts, bound or "", socket.gethostname(), "localhost") if name]
    return Guard(app, names, config.origins, here_only=bound is None)


def bound_host(arguments: Sequence[str]) -> str | None:
    """The address that the command line says to answer at; None if it says none.

    MONAI Label's own default is 0.0.0.0, every network of the machine, which nobody has asked for then.
    """
    for place, argument in enumerate(arguments):
        if argument in ("--host", "-i"):
            return arguments[place + 1] if place + 1 < len(arguments) else None
        if argument.startswith("--host="):
            return argument.partition("=")[2]
        if re.fullmatch(r"-i\S+", argument):
            return argument[2:]
    return None


def close_cors(app: FastAPI) -> None:
    """Take out MONAI Label's own layer, which lets the pages of all servers read everything."""
    app.user_middleware[:] = [layer for layer in app.user_middleware if layer.cls is not CORSMiddleware]


def _name(hosts: list[str]) -> str | None:
    """The name in a Host header without the port, in lower case; None if there is none, several, or no possible one."""
    if len(hosts) != 1:
        return None
    try:
        address = urlsplit(f"//{hosts[0]}")
        _ = address.port  # raises what is no number
    except ValueError:
        return None
    name = hosts[0].rpartition(":")[0] if address.port is not None else hosts[0].rstrip(":")
    return name.lower() if HOST.fullmatch(name) else None


def _netloc(origin: str) -> str:
    return origin.partition("://")[2].lower()


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _is_here(scope: Scope) -> bool:
    """Whether a request comes from this machine; so does what comes through no network at all."""
    client = scope.get("client")
    if not client or not _is_number(client[0]):
        return True
    address = ipaddress.ip_address(client[0])
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
