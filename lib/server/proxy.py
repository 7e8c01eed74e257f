"""``/proxy/dicom/...``: the way of a viewer in a browser to the DICOMweb server, which may only be reachable from here.

MONAI Label's own proxy drops the query string (a search then finds everything), reads each answer whole, waits for
ever, and holds the server up meanwhile. This one passes on what DICOMweb needs (PS3.18: queries, headers, bodies in
pieces) and nothing else: the user and password of the DICOMweb server stay here, and no path leads out of its base.

It waits for the network only, so it runs on the server's own event loop (see :mod:`lib.server.threads`) with one pool
of connections for all viewers.
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator
from http.cookiejar import CookieJar, DefaultCookiePolicy
from urllib.parse import quote, urlsplit

import httpx
from fastapi import APIRouter, Depends, Request
from fastapi.responses import StreamingResponse
from monailabel.config import settings
from monailabel.endpoints.user.auth import RBAC

from lib.errors import NotFoundError, SemisegError

logger = logging.getLogger(__name__)
logging.getLogger("httpx").setLevel(logging.WARNING)  # below, it logs each query, and these name patients

# What a client may tell the DICOMweb server, and what it hears of it. Cookies and credentials of either side are not
# the other's affair; headers of a connection (hop by hop, RFC 9110 7.6.1) end here.
ASKED = ("accept", "accept-charset", "accept-encoding", "accept-language", "content-length", "content-type",
         "if-modified-since", "if-none-match", "if-range", "prefer", "range")  # fmt: skip
ANSWERED = ("accept-ranges", "cache-control", "content-disposition", "content-encoding", "content-language",
            "content-length", "content-location", "content-range", "content-type", "etag", "expires", "last-modified",
            "preference-applied", "retry-after", "vary", "warning")  # fmt: skip
SERVICES = ("wado", "qido", "stow")  # first part of the path, as OHIF's configuration names the roots
STORE = re.compile(r"studies(/[0-9.]+)?")  # the only place DICOMweb is posted to (PS3.18 10.5)
BROKEN_OFF = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)  # after the connection was there


class ProxyError(SemisegError):
    """The DICOMweb server gave no answer to pass on; ``status`` is one of 502, 503 and 504."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class DicomProxy:
    """Passes requests on to one DICOMweb server.

    Args:
        studies: base URL of the server, as ``--studies`` gives it; the path of a folder: there is no server.
        user, password: for HTTP basic authentication; empty: none.
        timeout: seconds without a byte in either direction before the request is given up.
    """

    def __init__(self, studies: str, user: str = "", password: str = "", timeout: float = 30.0) -> None:
        self.base = studies.rstrip("/") if "://" in studies else ""
        self.host = urlsplit(self.base).hostname or ""  # for sentences: the URL could hold a password
        no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))  # the viewers share this client
        auth = (user, password) if user else None
        plain = {"accept-encoding": "identity"}  # unless a viewer asks for compression: httpx would by itself
        self.client = httpx.AsyncClient(auth=auth, timeout=timeout, cookies=no_cookies, headers=plain)
        self.timeout = timeout

    async def __call__(self, request: Request, path: str) -> StreamingResponse:
        """The DICOMweb server's answer to this request, in pieces as they come.

        Raises:
            NotFoundError: no DICOMweb server, or a path that is none of DICOMweb's.
            ProxyError: no answer (503), none in time (504), or none that can be passed on (502).
        """
        url = httpx.URL(f"{self.base}/{self._path(request.method, path)}".rstrip("/"))
        asked = self.client.build_request(
            request.method,
            url.copy_with(query=request.url.query.encode() or None),
            headers={name: request.headers[name] for name in ASKED if name in request.headers},
            content=request.stream() if request.method == "POST" else None,
        )
        answer = await self._send(asked)
        headers = {name: answer.headers[name] for name in ANSWERED if name in answer.headers}
        return StreamingResponse(self._pieces(answer), answer.status_code, headers)

    def _path(self, method: str, path: str) -> str:
        """Path below the base, from the one below ``/proxy/dicom/`` (decoded)."""
        if not self.base:
            raise NotFoundError("This server serves a folder of studies: there is no DICOMweb server behind it")
        parts = path.split("/")
        service = parts.pop(0) if parts[0] in SERVICES else ""
        if not any(parts):
            parts = []  # WADO-URI asks the root itself
        if any(part in ("", ".", "..") or not part.isprintable() or "\\" in part for part in parts):
            raise NotFoundError("There is no such path on the DICOMweb server")
        below = "/".join(quote(part, safe=",:;=@") for part in parts)
        if method == "POST" and not STORE.fullmatch(below):
            raise NotFoundError("DICOM objects are stored by a POST to studies or studies/StudyInstanceUID only")
        if service == "qido" and parts[-1:] == ["metadata"]:
            service = "wado"  # some versions of OHIF ask the wrong root
        prefix = getattr(settings, f"MONAI_LABEL_{service.upper()}_PREFIX") if service else None
        return f"{prefix.strip('/')}/{below}" if prefix else below

    async def _send(self, asked: httpx.Request) -> httpx.Response:
        try:
            answer = await self._send_again(asked)
        except httpx.TimeoutException as error:
            raise ProxyError(504, f"The DICOMweb server {self.host} did not answer in {self.timeout:g} s") from error
        except (httpx.ConnectError, httpx.UnsupportedProtocol) as error:
            raise ProxyError(503, f"The DICOMweb server {self.host} cannot be reached ({error}); try later") from error
        except httpx.HTTPError as error:
            raise ProxyError(502, f"The DICOMweb server {self.host} broke the connection off ({error})") from error
        if answer.status_code == 401:
            reason = "refuses this server's user and password; see MONAI_LABEL_DICOMWEB_USERNAME and _PASSWORD"
        elif answer.has_redirect_location:
            reason = "wants to be asked at another address; start with that one as --studies"
        else:
            return answer
        await answer.aclose()
        raise ProxyError(502, f"The DICOMweb server {self.host} {reason}")

    async def _send_again(self, asked: httpx.Request) -> httpx.Response:
        """Once more if need be: a server may end a kept connection in the very moment a request is sent over it. What
        only asks may then be asked again, what stores may not (RFC 9110 9.2.2)."""
        try:
            return await self.client.send(asked, stream=True)
        except BROKEN_OFF:
            if asked.method != "GET":
                raise
            return await self.client.send(asked, stream=True)

    async def _pieces(self, answer: httpx.Response) -> AsyncIterator[bytes]:
        """The body as it was sent, compressed or not. What breaks off here breaks off for the client too."""
        try:
            async for piece in answer.aiter_raw():
                yield piece
        except httpx.HTTPError as error:
            logger.warning("The DICOMweb server %s broke an answer off (%r)", self.host, error)
            raise
        finally:
            await answer.aclose()


def proxy_to(studies: str) -> DicomProxy:
    """The proxy to what ``--studies`` names, with the settings of MONAI Label."""
    return DicomProxy(
        studies,
        settings.MONAI_LABEL_DATASTORE_USERNAME or settings.MONAI_LABEL_DICOMWEB_USERNAME,
        settings.MONAI_LABEL_DATASTORE_PASSWORD or settings.MONAI_LABEL_DICOMWEB_PASSWORD,
        settings.MONAI_LABEL_DICOMWEB_PROXY_TIMEOUT,
    )


def proxy_router(proxy: DicomProxy) -> APIRouter:
    """The route of the proxy, for those who may see studies."""
    router = APIRouter(dependencies=[Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))])
    router.add_api_route("/proxy/dicom/{path:path}", proxy.__call__, methods=["GET", "POST"], include_in_schema=False)
    return router
