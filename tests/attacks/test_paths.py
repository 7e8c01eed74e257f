"""No parameter of any route leads out of its folder: each is tried with each kind of path, the others being right."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from lib.access.table import TABLE
from tests.attacks.conftest import SECRET

RIGHT = {
    "image": "phantom_004", "label": "phantom_000", "id": "phantom_005", "study": "phantom_004", "tag": "final",
    "model": "semiseg", "strategy": "hybrid", "method": "dice", "client_id": "reader", "lines": "3",
    "params": "{}", "info": "{}", "wsi": "{}", "path": "index.html", "session_id": "", "images": "labeled",
    "run": "20260101-000000-supervised", "name": "report.html", "version": "0001",
}  # fmt: skip
KEYS = (  # of JSON in bodies and fields, which MONAI Label and this app look at
    "image", "images", "model", "method", "name", "label", "label_tag", "session", "session_id", "client_id", "dataset",
    "bundle_path", "gpus", "run_id", "result_extension", "result_dtype", "modality", "strategy", "seed", "device",
    "path", "file", "tracking",
)  # fmt: skip


def ways_out(outside: Path) -> list[str]:
    """Texts that lead to that folder, or might."""
    return [
        str(outside / "secret"), str(outside / "secret.nii.gz"), str(outside),
        "../outside/secret.nii.gz", "../../outside/secret", "../../../outside", "..", "..\\..\\outside\\secret",
        f"file://{outside}/secret", f"{outside}/secret\0.nii.gz", "....//outside/secret", "~/secret", "%2e%2e/outside",
    ]  # fmt: skip


def route_of(served: FastAPI, method: str, path: str) -> Any:
    """The route that answers: the first one of these."""
    return next(route for route in _routes(served.router.routes) if route.path == path and method in route.methods)


def _routes(found: list[Any]) -> Iterator[Any]:
    for route in found:
        if hasattr(route, "original_router"):
            yield from _routes(route.original_router.routes)
        elif hasattr(route, "dependant"):
            yield route


CALLS = [(entry.method, entry.path) for entry in TABLE if entry.path not in ("/docs", "/openapi.json")]
PLAIN = [call for call in CALLS if not call[1].startswith(("/static/", "/proxy/"))]


@pytest.mark.parametrize(("method", "path"), PLAIN, ids=[f"{method} {path}" for method, path in PLAIN])
def test_nothing_outside_is_opened_or_written(
    served: FastAPI, ask: TestClient, studies: Path, outside: Path, touched: list[str], method: str, path: str
) -> None:
    try:
        dependant = route_of(served, method, path).dependant
    except StopIteration:
        pytest.fail(f"{method} {path} stands in the table of access and is no route")
    files = [field.alias for field in dependant.body_params if "Upload" in str(field.field_info.annotation)]
    fields = [field.alias for field in dependant.body_params if field.alias not in files]
    is_form = bool(files) or any("Form" in type(field.field_info).__name__ for field in dependant.body_params)
    queries = [field.alias for field in dependant.query_params]
    upload = (studies / "phantom_004.nii.gz").read_bytes()

    def call(changed: str, text: str, key: str = "") -> None:
        said = {name: RIGHT[name] for name in (*queries, *fields) if name in RIGHT} | {changed: text}
        if key:
            said |= {name: json.dumps({key: text}) for name in ("params", "info", "wsi")}
        address = path
        for part in dependant.path_params:
            address = address.replace(f"{{{part.alias}}}", quote({**RIGHT, changed: text}[part.alias], safe=""))
            address = address.replace(f"{{{part.alias}:path}}", quote({**RIGHT, changed: text}[part.alias], safe=""))
        options: dict[str, Any] = {"params": {name: said[name] for name in queries if name in said}}
        if is_form:
            options["data"] = {name: said[name] for name in fields if name in said}
            sent = text if changed == "file name" else "a.nii.gz"
            options["files"] = dict.fromkeys(files, (sent, upload)) or None
        elif fields:
            options["json"] = {key: text} if key else {}
        answer = ask.request(method, address, **options)
        assert answer.status_code < 500, f"{changed or key}={text!r}: {answer.text[:300]}"
        assert SECRET not in answer.content

    for place, text in enumerate(ways_out(outside)):
        for name in [*queries, *(part.alias for part in dependant.path_params), *(["file name"] if files else [])]:
            call(name, text)
        for key in KEYS if fields and place < 4 else ():
            call("", text, key)
    assert touched == []
    assert sorted(file.name for file in outside.iterdir()) == ["live.pt", "meta.info", "secret", "secret.nii.gz"]
    assert all(file.read_bytes() == SECRET for file in outside.iterdir())


@pytest.mark.parametrize("path", ["/static/", "/ohif/", "/session/", "/model/"])
def test_no_spelling_of_the_way_up_is_a_file_of_the_disk(ask: TestClient, path: str) -> None:
    for way in ("../" * 12, "..%2f" * 12, "%2e%2e/" * 12, "..%5c" * 12, "/", "%2f"):
        answer = ask.get(f"{path}{way}etc/passwd")
        assert b"root:" not in answer.content
        assert answer.status_code < 500
