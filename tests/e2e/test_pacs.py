"""``make pacs``: an Orthanc with the demo studies, once and again; and a sentence where there cannot be one."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from dicomweb_client import DICOMwebClient

from apps.semiseg import pacs
from lib.dicom.label import referenced_series
from lib.dicom.phantom_series import uid
from lib.errors import NotReadyError

SCRIPT = Path(pacs.__file__)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def run(command: str, folder: Path, port: int) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, str(SCRIPT), command, "--folder", str(folder), "--port", str(port), "--studies", "10"]
    return subprocess.run(words, capture_output=True, text=True, timeout=120)


@pytest.mark.programs
def test_a_pacs_is_started_filled_once_and_ended(tmp_path: Path) -> None:
    port = free_port()
    try:
        first, again = run("start", tmp_path, port), run("start", tmp_path, port)
        assert first.returncode == again.returncode == 0, first.stderr + again.stderr
        assert first.stdout.startswith("10 of 10 demo studies were new")
        assert again.stdout.startswith("0 of 10")
        client = DICOMwebClient(f"http://127.0.0.1:{port}/dicom-web")
        found = client.search_for_series(search_filters={"Modality": "MR"})
        assert {item["0020000E"]["Value"][0] for item in found} == {
            uid("series", f"phantom_{number:03d}", "1") for number in range(10)
        }
        labels = client.search_for_series(search_filters={"Modality": "SEG"})
        assert len(labels) == pacs.LABELLED
        place = [labels[0][tag]["Value"][0] for tag in ("0020000D", "0020000E")]
        assert referenced_series(client.retrieve_series(*place)[0]) in {
            uid("series", f"phantom_{number:03d}", "1") for number in range(pacs.LABELLED)
        }
    finally:
        assert run("stop", tmp_path, port).returncode == 0
    assert pacs.running(f"http://127.0.0.1:{port}") is None
    assert run("stop", tmp_path, port).returncode == 0


def test_without_orthanc_the_way_to_get_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacs, "PROGRAMS", str(tmp_path))
    with pytest.raises(NotReadyError, match=r"apt-get install orthanc orthanc-dicomweb; elsewhere.*docker run"):
        pacs.start(tmp_path, free_port())
    assert list(tmp_path.iterdir()) == []


def test_a_port_of_another_server_is_left_to_it(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        port = other.server_address[1]
        with pytest.raises(NotReadyError, match=f"Port {port} belongs to another server.*PACS_PORT"):
            pacs.start(tmp_path, port)
        other.shutdown()
    assert list(tmp_path.iterdir()) == []
