"""What a viewer asks through the proxy reaches the DICOMweb server unchanged, and nothing else does."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import uvicorn
from fastapi import FastAPI

from lib.server.bodies import Limits
from lib.server.failures import answer_in_sentences
from lib.server.proxy import DicomProxy, proxy_router
from lib.server.threads import Threaded

PIECE = bytes(range(256)) * 256  # 64 KiB


class Pacs(BaseHTTPRequestHandler):
    """Stands for a DICOMweb server: echoes what it was asked as JSON, or misbehaves by the path."""

    protocol_version = "HTTP/1.1"
    go_on = threading.Event()  # the second half of an answer waits for it
    hangs_up = 0  # on the next so many requests, without an answer

    def do_GET(self) -> None:
        place = self.path.split("?")[0].rsplit("/", 1)[-1]
        if Pacs.hangs_up:
            self.hang_up()
        elif place == "halves":
            self.begin(2 * len(PIECE), "multipart/related")
            self.wfile.write(PIECE)
            self.go_on.wait(20)
            self.wfile.write(PIECE)
        elif place == "broken":
            self.begin(2 * len(PIECE), "multipart/related")
            self.wfile.write(PIECE)
            self.close_connection = True
        elif place == "silent":
            self.go_on.wait(20)
            self.close_connection = True
        elif place == "elsewhere":
            self.begin(0, "text/plain", 302, Location="http://127.0.0.2/secret")
        elif place == "locked":
            self.begin(0, "text/plain", 401, **{"WWW-Authenticate": 'Basic realm="x"'})
        elif place == "none":
            self.begin(0, "application/dicom+json", 204)
        else:
            self.echo(b"")

    def do_POST(self) -> None:
        length = self.headers["Content-Length"]
        body = self.rfile.read(int(length)) if length else b"chunked"
        if Pacs.hangs_up:
            self.hang_up()
        else:
            self.echo(body)

    def hang_up(self) -> None:
        Pacs.hangs_up -= 1
        self.close_connection = True

    def echo(self, body: bytes) -> None:
        asked = {"method": self.command, "path": self.path, "headers": dict(self.headers), "size": len(body)}
        content = json.dumps(asked).encode()
        headers = {"ETag": '"7"', "Set-Cookie": "session=1", "Server-Secret": "x"}
        self.begin(len(content), "application/dicom+json", **headers)
        self.wfile.write(content)

    def begin(self, length: int, kind: str, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        if status != 204:
            headers |= {"Content-Length": str(length), "Content-Type": kind}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def pacs() -> Iterator[str]:
    """Base URL of the stand-in."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pacs)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/dicom-web"
    server.shutdown()


@contextmanager
def serving(proxy: DicomProxy) -> Iterator[str]:
    """URL of a real server with this proxy, since only that shows what arrives when."""
    app = FastAPI()
    app.include_router(proxy_router(proxy))
    app.add_api_route("/info/", lambda: {"name": "semiseg"})
    answer_in_sentences(app)
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(Threaded(app, Limits(1 << 30), quick=1), log_level="error"))
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture(scope="module")
def url(pacs: str) -> Iterator[str]:
    with serving(DicomProxy(pacs, "reader", "secret", timeout=1.0)) as address:
        yield f"{address}/proxy/dicom"


def detail(answer: requests.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    return answer.json()["detail"]


@pytest.mark.parametrize(
    "query", ["PatientName=M%C3%BCller%2A&limit=101&includefield=00081030%2C00080060", "PatientID=a&PatientID=b", ""]
)
def test_the_query_arrives_as_it_was_written(url: str, query: str) -> None:
    asked = requests.get(f"{url}/qido/studies?{query}", timeout=20).json()["path"]
    assert asked == f"/dicom-web/studies{'?' if query else ''}{query}"


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("wado/studies/1.2/series/1.3/instances/1.4/frames/1,2", "studies/1.2/series/1.3/instances/1.4/frames/1,2"),
        ("studies/1.2/metadata", "studies/1.2/metadata"),
        ("wado?requestType=WADO&studyUID=1.2", "?requestType=WADO&studyUID=1.2"),
        ("qido/studies/a%252e%252e%2520b", "studies/a%252e%252e%2520b"),
    ],
)
def test_each_root_leads_to_the_one_base(url: str, ours: str, theirs: str) -> None:
    asked = requests.get(f"{url}/{ours}", timeout=20).json()["path"]
    assert asked in (f"/dicom-web/{theirs}", f"/dicom-web{theirs}")


def test_a_prefix_of_a_service_is_put_before_its_paths(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib.server.proxy.settings.MONAI_LABEL_WADO_PREFIX", "wado-rs")
    for service in ("wado", "qido"):  # some versions of OHIF ask the wrong root for metadata
        asked = requests.get(f"{url}/{service}/studies/1.2/metadata", timeout=20).json()["path"]
        assert asked == "/dicom-web/wado-rs/studies/1.2/metadata"


def test_headers_pass_but_cookies_and_credentials_do_not(url: str) -> None:
    sent = {
        "Accept": 'multipart/related; type="application/octet-stream"',
        "If-None-Match": '"7"',
        "Range": "bytes=0-9",
    }
    sent["Accept-Encoding"] = "gzip, br"
    private = {"Authorization": "Bearer of-monai-label", "Cookie": "MONAILABEL=1", "X-Forwarded-For": "10.0.0.1"}
    answer = requests.get(f"{url}/wado/studies", headers=sent | private, timeout=20)
    asked = {name.lower(): value for name, value in answer.json()["headers"].items()}
    assert {name: asked[name.lower()] for name in sent} == sent
    assert asked["authorization"] == f"Basic {base64.b64encode(b'reader:secret').decode()}"
    assert not asked.keys() & {"cookie", "x-forwarded-for"}
    assert answer.headers["ETag"] == '"7"'
    assert answer.headers["Content-Type"] == "application/dicom+json"
    assert not {name.lower() for name in answer.headers} & {"set-cookie", "server-secret"}


def test_no_log_names_a_patient(url: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        requests.get(f"{url}/qido/studies?PatientName=Nobody", timeout=20)
        requests.get(f"{url}/qido/studies/1/locked?PatientName=Nobody", timeout=20)
    assert "password" in caplog.text
    assert "Nobody" not in caplog.text


def test_compression_is_asked_for_by_the_viewer_or_not_at_all(url: str) -> None:
    address = urlsplit(url)
    connection = HTTPConnection(str(address.hostname), address.port, timeout=20)
    connection.putrequest("GET", f"{address.path}/wado/studies", skip_accept_encoding=True)
    connection.endheaders()
    asked = {name.lower(): value for name, value in json.load(connection.getresponse())["headers"].items()}
    connection.close()
    assert asked["accept-encoding"] == "identity"


def test_an_answer_passes_in_pieces(url: str) -> None:
    Pacs.go_on.clear()
    with requests.get(f"{url}/wado/studies/1/halves", stream=True, timeout=20) as answer:
        first = answer.raw.read(len(PIECE))  # the other half is sent only after this one has come
        Pacs.go_on.set()
        assert first + answer.raw.read() == 2 * PIECE
    assert answer.headers["Content-Length"] == str(2 * len(PIECE))


def test_an_answer_that_breaks_off_does_not_look_whole(url: str) -> None:
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        requests.get(f"{url}/wado/studies/1/broken", timeout=20)


def test_a_store_passes_whole(url: str) -> None:
    kind = 'multipart/related; type="application/dicom"; boundary=x'
    asked = requests.post(f"{url}/wado/studies", data=40 * PIECE, headers={"Content-Type": kind}, timeout=20).json()
    assert (asked["method"], asked["path"], asked["size"]) == ("POST", "/dicom-web/studies", 40 * len(PIECE))
    assert {name.lower(): value for name, value in asked["headers"].items()}["content-type"] == kind


def test_an_empty_answer_passes(url: str) -> None:
    answer = requests.get(f"{url}/qido/none", timeout=20)
    assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize(
    "path", ["../secret", "wado/../../secret", "%2e%2e/secret", "studies/..%2f..%2fsecret", "studies/..%5c..%5csecret",
             "http://127.0.0.2/secret", "studies//1", "studies/1%0d%0aHost:x"]
)  # fmt: skip
def test_no_path_leads_out_of_the_base(url: str, path: str) -> None:
    session = requests.Session()
    asked = requests.Request("GET", url).prepare()
    asked.url = f"{url}/{path}"  # as it stands: requests would resolve the dots itself
    answer = session.send(asked, timeout=20)
    assert answer.status_code == 404
    assert "path" not in answer.text or "no such path" in answer.text


@pytest.mark.parametrize("path", ["servers/other/stow", "wado", "studies/1/series"])
def test_nothing_is_posted_but_dicom_objects(url: str, path: str) -> None:
    answer = requests.post(f"{url}/{path}", data=b"{}", timeout=20)
    assert answer.status_code == 404


def test_a_question_is_asked_again_where_the_connection_ended(url: str) -> None:
    Pacs.hangs_up = 1
    assert requests.get(f"{url}/wado/studies/1", timeout=20).json()["path"] == "/dicom-web/studies/1"
    Pacs.hangs_up = 2
    assert "broke the connection off" in detail(requests.get(f"{url}/wado/studies/1", timeout=20), 502)
    assert Pacs.hangs_up == 0


def test_what_stores_is_sent_once(url: str) -> None:
    Pacs.hangs_up = 1
    sent = requests.post(f"{url}/wado/studies", data=b"x", headers={"Content-Type": "multipart/related"}, timeout=20)
    assert "broke the connection off" in detail(sent, 502)


def test_silence_is_told_in_time(url: str) -> None:
    Pacs.go_on.clear()
    sentence = detail(requests.get(f"{url}/wado/studies/1/silent", timeout=20), 504)
    Pacs.go_on.set()
    assert sentence == "The DICOMweb server 127.0.0.1 did not answer in 1 s"


@pytest.mark.parametrize(("path", "word"), [("elsewhere", "another address"), ("locked", "password")])
def test_what_cannot_be_passed_on_is_explained(url: str, path: str, word: str) -> None:
    sentence = detail(requests.get(f"{url}/wado/studies/1/{path}", timeout=20, allow_redirects=False), 502)
    assert word in sentence
    assert "secret" not in sentence


def test_a_server_that_is_away_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with serving(DicomProxy(f"http://127.0.0.1:{port}")) as url:
        assert "cannot be reached" in detail(requests.get(f"{url}/proxy/dicom/qido/studies", timeout=20), 503)


def test_a_folder_has_no_server_behind_it() -> None:
    with serving(DicomProxy("/data/studies")) as url:
        assert "folder" in detail(requests.get(f"{url}/proxy/dicom/qido/studies", timeout=20), 404)


def test_other_requests_are_answered_while_many_wait_for_the_server(url: str) -> None:
    Pacs.go_on.clear()
    ask: Callable[[], Any] = lambda: requests.get(f"{url}/wado/studies/1/halves", timeout=20)  # noqa: E731
    waiting = [threading.Thread(target=ask) for _ in range(4)]  # there is one thread for quick requests
    for each in waiting:
        each.start()
    assert requests.get(url.replace("/proxy/dicom", "/info/"), timeout=10).json() == {"name": "semiseg"}
    assert all(each.is_alive() for each in waiting)
    Pacs.go_on.set()
    for each in waiting:
        each.join(20)
