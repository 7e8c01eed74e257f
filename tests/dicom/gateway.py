"""A DICOMweb server in front of an Orthanc: it hides Orthanc's own API, counts requests and fails on demand."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests


class Gateway(ThreadingHTTPServer):
    """Its ``url`` answers as the DICOMweb service behind it.

    Attributes:
        asked: method and path of each request, with its query.
        etags: answer queries with an ETag, and 304 to whoever has it.
        page: answer queries by so many rows at a time, with the standard's warning; 0: all.
        cut: break off after so many bytes of a series' instances; None: never.
        answer: status and body of every answer instead of the real one.
        hangs_up: end the connections of the next so many requests without an answer.
    """

    daemon_threads = True

    def __init__(self, behind: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind, self.asked = behind.removesuffix("/dicom-web"), list[str]()
        self.etags, self.page, self.cut = False, 0, None
        self.answer: tuple[int, bytes] | None = None
        self.hangs_up = 0
        self.url = f"http://127.0.0.1:{self.server_address[1]}/dicom-web"

    def handle_error(self, request: object, client_address: object) -> None:
        """The server behind is away: the connection ends without an answer."""


class _Handler(BaseHTTPRequestHandler):
    server: Gateway

    def do_GET(self) -> None:
        self._pass_on()

    def do_POST(self) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.server.hangs_up:
            self.server.hangs_up -= 1
            return None
        if self.server.answer:
            return self._send(*self.server.answer, {"Content-Type": "application/dicom+json"})
        if not self.path.startswith("/dicom-web/"):
            return self._send(404, b"", {})
        path = self.path
        rows = path.partition("?")[0].endswith("/series")
        if rows and self.server.page:
            path += f"{'&' if '?' in path else '?'}limit={self.server.page}"
        passed = {key: self.headers[key] for key in ("Accept", "Content-Type") if key in self.headers}
        found = requests.request(self.command, self.server.behind + path, data=body, headers=passed, timeout=30)
        headers = {"Content-Type": found.headers.get("Content-Type", "")}
        if rows and self.server.etags:
            headers["ETag"] = hashlib.sha256(found.content).hexdigest()
            if self.headers.get("If-None-Match") == headers["ETag"]:
                return self._send(304, b"", headers)
        if rows and self.server.page and len(found.json() or []) == self.server.page:
            headers["Warning"] = '299 gateway: "there are more results"'
        content = found.content
        if "multipart" in headers["Content-Type"] and self.server.cut is not None:
            content = content[: self.server.cut]
        return self._send(found.status_code, content, headers)

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        """Without a length, as Orthanc sends a series: only the connection's end tells the end."""
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Not among the tests' output."""


@contextmanager
def gateway(behind: str) -> Iterator[Gateway]:
    """A running one for the length of the block."""
    server = Gateway(behind)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
