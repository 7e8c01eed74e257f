"""A real server as a child process, and what its clients ask of it over HTTP."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

ROOT = Path(__file__).resolve().parents[2]


class Server:
    """``monailabel start_server`` as a user types it, in a working directory that is not the repository."""

    def __init__(self, studies: Path, folder: Path, **conf: object) -> None:
        self.studies, self.log = studies, folder / "server.log"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.headers: dict[str, str] = {}
        settings = [word for key, value in conf.items() for word in ("--conf", key, str(value))]
        command = ["monailabel", "start_server", "--app", str(ROOT / "apps" / "semiseg"), "--studies", str(studies)]
        environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # as an activated environment
            "MONAI_LABEL_SESSION_PATH": str(folder / "sessions"),
            "OMP_NUM_THREADS": "1",
        }
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*command, "--host", "127.0.0.1", "--port", str(port), *settings],
                cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def wait_until_ready(self, seconds: float = 120) -> Server:
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            try:
                requests.get(f"{self.url}/auth/", timeout=5).raise_for_status()  # which needs no login
                return self
            except requests.ConnectionError:
                time.sleep(0.2)
        raise AssertionError(f"The server did not start:\n{self.log.read_text()[-4000:]}")

    def log_in(self, name: str, password: str) -> None:
        """What is asked from now on is asked by this user."""
        form = {"username": name, "password": password}
        token = self._json(requests.post(f"{self.url}/auth/token", data=form, timeout=60), 200)["access_token"]
        self.headers = {"Authorization": f"Bearer {token}"}

    def stop(self) -> None:
        """End the server with all that it started, also what outlived it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def get(self, path: str, status: int = 200, **params: Any) -> Any:
        return self._json(requests.get(f"{self.url}{path}", params=params, headers=self.headers, timeout=60), status)

    def post(self, path: str, body: Any = None, status: int = 200, **params: Any) -> Any:
        answer = requests.post(f"{self.url}{path}", json=body, params=params, headers=self.headers, timeout=120)
        return self._json(answer, status)

    def delete(self, path: str, status: int = 200) -> Any:
        return self._json(requests.delete(f"{self.url}{path}", headers=self.headers, timeout=60), status)

    def put_label(self, study: str, label: Path, info: Any = None, status: int = 200) -> Any:
        """Submit a label as 3D Slicer does."""
        form = {"params": json.dumps({"label_info": info, "client_id": "test"} if info else {})}
        with label.open("rb") as file:
            answer = requests.put(
                f"{self.url}/datastore/label", params={"image": study}, data=form,
                files={"label": (label.name, file)}, headers=self.headers, timeout=60,
            )  # fmt: skip
        return self._json(answer, status)

    def download(self, study: str) -> bytes:
        """The image file of a study."""
        query = {"image": study}
        answer = requests.get(f"{self.url}/datastore/image", params=query, headers=self.headers, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.content

    def infer(self, study: str, status: int = 200, model: str = "semiseg", **params: Any) -> requests.Response:
        """Segment a study as OHIF does: the answer is the file."""
        query = {"image": study, "output": params.pop("output", "image")}
        answer = requests.post(
            f"{self.url}/infer/{model}", params=query, data={"params": json.dumps(params)},
            headers=self.headers, timeout=120,
        )  # fmt: skip
        assert answer.status_code == status, answer.text
        return answer

    def _json(self, answer: requests.Response, status: int) -> Any:
        assert answer.status_code == status, f"{answer.request.method} {answer.url}: {answer.status_code} {answer.text}"
        return answer.json()


@pytest.fixture(scope="module")
def start_server() -> Iterator[Callable[..., Server]]:
    """Starts servers, and ends those that still run when the module's tests are over."""
    started: list[Server] = []

    def start(*args: Any, **kwargs: Any) -> Server:
        started.append(Server(*args, **kwargs))
        return started[-1]

    yield start
    for server in started:
        server.stop()
