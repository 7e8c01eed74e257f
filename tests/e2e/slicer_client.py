"""What the MONAI Label module of 3D Slicer asks, call by call: a reader's session, without the program.

The calls, their order and their parameters are those of the module of MONAI Label 0.8.5. Like it, this client finds out
what it can ask from ``/info/`` alone.
"""

from __future__ import annotations

import json
import time
from email import message_from_bytes
from pathlib import Path
from typing import Any

import requests

INTERVAL = 0.5  # s between two looks at a training; the module takes 5
CLIENT = "user-slicer"


class Slicer:
    """One reader at one server.

    Args:
        url: of the server.
        folder: where downloads are kept.
        login: name and password, which the module asks the reader for if the server wants them.
    """

    def __init__(self, url: str, folder: Path, login: tuple[str, str] | None = None) -> None:
        self.url, self.folder, self.login = url, folder, login
        self.session = requests.Session()
        self.info: dict[str, Any] = {}

    def connect(self) -> bool:
        """Press the button beside the server's address; returns whether a training runs."""
        self.fetch_info()
        return self._ask("GET", "/train/", check_if_running="true").status_code == 200

    def fetch_info(self) -> dict[str, Any]:
        """What the module shows: models, trainers, strategies, bars."""
        self.info = self._json(self._ask("GET", "/info/"))
        return self.info

    def next_sample(self, strategy: str) -> tuple[dict[str, Any], Path]:
        """Press Next Sample; returns the answer and the image, opened where it lies or else downloaded."""
        sample = self._json(self._ask("POST", f"/activelearning/{strategy}", self._config("strategies", strategy)))
        image = Path(sample.get("path") or "")
        if not image.is_file():
            image = self.download(sample["id"])
        assert sample["id"] in self._json(self._ask("GET", "/datastore/", output="all"))["objects"]
        self._ask("GET", "/datastore/label", label=sample["id"], tag="original")  # 404 where no draft is kept
        return sample, image

    def download(self, study: str) -> Path:
        """The image from the server, under the name that the answer gives it."""
        answer = self._ask("GET", "/datastore/image", image=study)
        assert answer.status_code == 200, answer.text
        name = answer.headers["content-disposition"].split("filename=")[1].strip('"')
        (self.folder / name).write_bytes(answer.content)
        return self.folder / name

    def segment(self, model: str, study: str = "", session: str = "") -> tuple[Path, dict[str, Any]]:
        """Press Run; returns the file of the segmentation and what the server tells of it."""
        params = self._config("models", model) | {"result_extension": ".nrrd", "result_dtype": "uint8"}
        query = {"image": study} | ({"session_id": session} if session else {})
        form = {"params": (None, json.dumps(params | {"client_id": CLIENT}))}
        answer = self._ask("POST", f"/infer/{model}", files=form, **query)
        assert answer.status_code == 200, answer.text
        head = f"Content-Type: {answer.headers['Content-Type']}\r\n\r\n".encode()
        parts = {part.get_param("name", header="content-disposition"): part
                 for part in message_from_bytes(head + answer.content).get_payload()}  # fmt: skip
        file = self.folder / str(parts["image"].get_filename())
        file.write_bytes(parts["image"].get_payload(decode=True))
        return file, json.loads(parts["params"].get_payload(decode=True))

    def open_local(self, image: Path) -> str:
        """Open a volume that the server does not have; returns the id of the session it is uploaded to."""
        with image.open("rb") as file:
            answer = self._ask("PUT", "/session/", data={"client_id": CLIENT}, files=[("files", (image.name, file))])
        return str(self._json(answer)["session_id"])

    def upload(self, image: Path, study: str) -> requests.Response:
        """Make a local volume a study of the server, which the module does before a label of it is submitted."""
        with image.open("rb") as file:
            form = {"params": json.dumps({"client_id": CLIENT})}
            return self._ask("PUT", "/datastore/", data=form, files={"file": (image.name, file)}, image=study)

    def submit(self, study: str, label: Path, names: list[str]) -> dict[str, Any]:
        """Press Submit Label: the segments in order, values 1, 2, ...; returns ``/info/``, which is read next."""
        segments = [{"name": name, "idx": value} for value, name in enumerate(names, 1)]
        form = {"params": json.dumps({"label_info": segments, "client_id": CLIENT})}
        with label.open("rb") as file:
            answer = self._ask("PUT", "/datastore/label", data=form, files={"label": (label.name, file)}, image=study)
        assert self._json(answer)["image"] == study
        return self.fetch_info()

    def train(self, trainer: str, **changes: Any) -> dict[str, Any]:
        """Press Train; ``changes`` are made in the module's table of options first."""
        return self._json(self._ask("POST", f"/train/{trainer}", self._config("trainers", trainer) | changes))

    def watch(self, seconds: float = 200) -> tuple[str, list[dict[str, Any]]]:
        """Look as the module does until the training has ended; returns its last status and all stats seen."""
        seen, end = [], time.monotonic() + seconds
        while time.monotonic() < end:
            status = self._json(self._ask("GET", "/train/"))["status"]
            seen.append(next(iter(self.fetch_info()["train_stats"].values())))
            if status not in ("SUBMITTED", "RUNNING"):
                return status, seen
            time.sleep(INTERVAL)
        raise AssertionError(f"The training did not end: {seen[-1]}")

    def stop(self) -> str:
        """Press Stop; returns the status."""
        return str(self._json(self._ask("DELETE", "/train/"))["status"])

    def _config(self, section: str, name: str) -> dict[str, Any]:
        """The options of a task as the module sends them unasked: of each choice the first item."""
        options = self.info[section][name]["config"]
        first = {key: value[0] if isinstance(value, list) else value for key, value in options.items()}
        return first | {"client_id": CLIENT}

    def _ask(self, method: str, path: str, body: Any = None, **options: Any) -> requests.Response:
        if self.session.get(f"{self.url}/auth/", timeout=60).json()["enabled"]:  # asked before every call
            self._log_in()
        sent = {key: options.pop(key) for key in ("data", "files") if key in options}
        return self.session.request(method, f"{self.url}{path}", params=options, json=body, timeout=120, **sent)

    def _log_in(self) -> None:
        """Unless the token of the last time still holds."""
        if self.session.get(f"{self.url}/auth/token/valid", timeout=60).status_code == 200:
            return
        assert self.login, "the server wants a login"
        form = dict(zip(("username", "password"), self.login, strict=True)) | {"grant_type": "password"}
        token = self._json(self.session.post(f"{self.url}/auth/token", data=form, timeout=60))
        self.session.headers["Authorization"] = f"{token['token_type']} {token['access_token']}"

    def _json(self, answer: requests.Response) -> dict[str, Any]:
        assert answer.status_code == 200, f"{answer.request.method} {answer.url}: {answer.status_code} {answer.text}"
        return answer.json()
