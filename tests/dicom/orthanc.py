"""A real Orthanc with the DICOMweb plugin on a free loopback port, with storage of its own."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

PROGRAM, PLUGIN = "Orthanc", "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"  # as the Debian packages lay them


class Orthanc:
    """One Orthanc. What it stores stays in ``folder``, so that it can be stopped, and started again on the same port.

    Args:
        folder: its configuration, log and storage; made if it does not exist.
        user, password: of its only user; without a user everyone may do everything.
        settings: further keys of its configuration.
    """

    def __init__(self, folder: Path, user: str = "", password: str = "", **settings: Any) -> None:
        self.folder, self.auth = folder, (user, password) if user else None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.base = f"http://127.0.0.1:{self.port}"
        self.url = f"{self.base}/dicom-web"
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self._configuration(settings)

    def start(self, seconds: float = 30) -> Orthanc:
        """Start it, and wait until it answers."""
        program = shutil.which(PROGRAM, path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
        assert program, "Orthanc is not installed: apt-get install orthanc orthanc-dicomweb"
        with (self.folder / "orthanc.log").open("ab") as log:
            command = [program, "--verbose-plugins", str(self.folder / "orthanc.json")]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            try:
                requests.get(f"{self.base}/system", auth=self.auth, timeout=5).raise_for_status()
                return self
            except requests.RequestException:
                time.sleep(0.05)
        raise AssertionError(f"Orthanc did not start:\n{(self.folder / 'orthanc.log').read_text()[-3000:]}")

    def stop(self) -> None:
        """End it at once, as a power cut would; requests under way break off."""
        if self.process:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def upload(self, files: Iterable[Path]) -> None:
        """Store these DICOM files."""
        with requests.Session() as session:
            session.auth = self.auth
            for file in files:
                session.post(f"{self.base}/instances", data=file.read_bytes(), timeout=60).raise_for_status()

    def delete(self, uid: str) -> None:
        """Delete the study, series or instance of this UID."""
        with requests.Session() as session:
            session.auth = self.auth
            found = session.post(f"{self.base}/tools/lookup", data=uid, timeout=30).json()
            for item in found:
                session.delete(f"{self.base}{item['Path']}", timeout=30).raise_for_status()

    def _configuration(self, settings: dict[str, Any]) -> None:
        storage = str(self.folder / "storage")
        values = {
            "Name": "semiseg-test",
            "StorageDirectory": storage,
            "IndexDirectory": storage,
            "HttpPort": self.port,
            "DicomServerEnabled": False,
            "RemoteAccessAllowed": False,  # only loopback
            "AuthenticationEnabled": self.auth is not None,
            "RegisteredUsers": dict([self.auth]) if self.auth else {},
            "Plugins": [PLUGIN],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "StudiesMetadata": "Full", "SeriesMetadata": "Full"},
        }
        (self.folder / "orthanc.json").write_text(json.dumps(values | settings, indent=1))


@contextmanager
def orthanc(folder: Path, user: str = "", password: str = "", **settings: Any) -> Iterator[Orthanc]:
    """A running Orthanc for the length of the block."""
    server = Orthanc(folder, user, password, **settings)
    try:
        yield server.start()
    finally:
        server.stop()


StartOrthanc = Callable[..., Orthanc]
