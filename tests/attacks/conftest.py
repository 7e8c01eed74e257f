"""The whole app with a model, a folder it has no business in, and a look at every file that the process opens."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from lib.server.app import SemisegApp
from tests.conftest import phantom_studies, studies  # noqa: F401
from tests.server.conftest import app, config, folder, publish  # noqa: F401
from tests.server.whole_app import client, whole_app

SECRET = b"nobody's business"
_watched: list[tuple[str, list[str]]] = []  # the hook stays as long as the process


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: Python tells it of all files that are opened, made, moved and deleted (sys.addaudithook)."""
    if _watched and event.partition(".")[0] in ("open", "os", "shutil", "sqlite3"):
        folder, seen = _watched[-1]
        seen += [f"{event} {item}" for item in map(_text, arguments[:2]) if item.startswith(folder)]


def _text(item: Any) -> str:
    return item.decode(errors="replace") if isinstance(item, bytes) else str(item)


sys.addaudithook(_note)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder beside the studies with a study, a label, a session's notes and a model that nobody may reach."""
    place = tmp_path / "outside"
    place.mkdir()
    for name in ("secret", "secret.nii.gz", "meta.info", "live.pt"):
        (place / name).write_bytes(SECRET)
    return place


@pytest.fixture
def touched(outside: Path) -> Iterator[list[str]]:
    """What has been done in that folder since the test began."""
    seen: list[str] = []
    _watched.append((str(outside), seen))
    yield seen
    _watched.pop()


@pytest.fixture
def served(
    app: SemisegApp,  # noqa: F811
    studies: Path,  # noqa: F811
    tmp_path: Path,
    publish: Callable[..., str],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[FastAPI]:
    """With a model; tasks that would get a process of their own are taken as started."""
    publish()
    monkeypatch.setattr("monailabel.utils.async_tasks.task.run_background_task", lambda request, method: {"id": "1"})
    with whole_app(app, str(tmp_path), str(studies)) as made:
        yield made


@pytest.fixture
def ask(served: FastAPI) -> TestClient:
    """A client on this machine."""
    return client(served)
