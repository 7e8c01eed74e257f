"""Bodies that are too large, too deep, or hold what no text can say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from lib.errors import ConfigError
from lib.server.strict_json import parse, parse_object

DEEP = "[" * 100_000 + "]" * 100_000
NESTED = '{"a":' * 500 + "1" + "}" * 500
UNSAYABLE = {
    "not a number": '{"a": NaN}',
    "infinity": '{"a": -Infinity}',
    "beyond the largest": '{"a": 1e999}',
    "a number of a million digits": '{"a": ' + "9" * 900_000 + "}",
    "half a character": '{"a": "\\ud800"}',
    "deep lists": DEEP,
    "deep objects": NESTED,
    "no JSON": "{oops",
}
FORMS = [
    ("PUT", "/datastore/image/info?image=phantom_004", "info", None),
    ("PUT", "/datastore/label/info?label=phantom_000&tag=final", "info", None),
    ("PUT", "/datastore/updatelabelinfo?label=phantom_000&tag=final", "params", None),
    ("PUT", "/datastore/label?image=phantom_004", "params", "label"),
    ("PUT", "/datastore/image?image=new", "params", "file"),
    ("POST", "/infer/semiseg?image=phantom_004", "params", None),
]
BODIES = ["/train/semiseg", "/activelearning/hybrid", "/scoring/dice", "/batch/infer/semiseg"]


@pytest.mark.parametrize("name", UNSAYABLE)
@pytest.mark.parametrize(("method", "path", "field", "file"), FORMS, ids=[form[1] for form in FORMS])
def test_a_field_that_could_not_be_written_again_is_refused(
    ask: TestClient, studies: Path, method: str, path: str, field: str, file: str | None, name: str
) -> None:
    files: Any = {file: ("a.nii.gz", (studies / "phantom_004.nii.gz").read_bytes())} if file else {"x": ("x", b"")}
    answer = ask.request(method, path, data={field: UNSAYABLE[name]}, files=files)
    assert answer.status_code == 400
    assert "The field" in answer.json()["detail"]
    assert ask.get("/datastore/", params={"output": "all"}).status_code == 200


@pytest.mark.parametrize("name", UNSAYABLE)
@pytest.mark.parametrize("path", BODIES)
def test_so_is_such_a_body(ask: TestClient, path: str, name: str) -> None:
    answer = ask.post(path, content=UNSAYABLE[name], headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert "body" in answer.json()["detail"]
    assert ask.get("/train/").status_code in (200, 404)


@pytest.mark.parametrize("text", ["[1]", "1", '"text"', "true"])
def test_a_field_that_is_no_object_is_refused(ask: TestClient, text: str) -> None:
    for method, path, field, file in FORMS:
        files: Any = {file: ("a.nii.gz", b"x")} if file else {"x": ("x", b"")}
        assert ask.request(method, path, data={field: text}, files=files).status_code == 400


def test_json_is_read_as_it_is_written() -> None:
    value = {"a": [1, -2.5, 1e300, True, None, "ä\U0001f600\u0000"], "b": {"c": {}}}
    assert parse(json.dumps(value), "It") == parse(json.dumps(value, ensure_ascii=False).encode(), "It") == value
    assert parse_object("", "It") == parse_object("null", "It") == {}
    with pytest.raises(ConfigError, match="UTF-8"):
        parse(b'"\xff\xfe"', "It")
    with pytest.raises(ConfigError, match="deeper than 32"):
        parse("[" * 33 + "]" * 33, "It")
    assert parse("[" * 32 + "]" * 32, "It")


@pytest.mark.parametrize("path", ["/train/semiseg", "/activelearning/hybrid"])
def test_a_body_of_more_than_a_megabyte_is_refused_unless_it_brings_a_file(ask: TestClient, path: str) -> None:
    answer = ask.post(path, json={"a": "x" * (1 << 20)})
    assert answer.status_code == 413
    assert "larger than" in answer.json()["detail"]


def test_the_limit_of_uploads_is_counted_not_believed(served: FastAPI, ask: TestClient) -> None:
    threaded = served.middleware_stack
    while not hasattr(threaded, "limits"):
        threaded = threaded.app  # type: ignore[union-attr]
    threaded.limits = type(threaded.limits)(upload=100_000)

    def pieces() -> Any:
        yield from [bytes(10_000)] * 11

    for content, headers in ((pieces(), {}), (bytes(110_000), {}), (b"", {"Content-Length": "99999999999"})):
        answer = ask.put(
            "/session/", content=content, headers={"Content-Type": "multipart/form-data; boundary=x", **headers}
        )
        assert answer.status_code == 413
        assert "upload_gb" in answer.json()["detail"]


@pytest.mark.parametrize("fields", [5_000, 1])
def test_forms_of_many_or_endless_fields_are_refused(ask: TestClient, fields: int) -> None:
    size = 10 if fields > 1 else 1 << 21
    sent = {f"field{number}": "x" * size for number in range(fields)}
    answer = ask.put("/session/", data=sent, files={"files": ("a.nii.gz", b"x")})
    assert 400 <= answer.status_code < 500


@pytest.mark.parametrize(
    "text",
    [
        "\u202e",
        "\uff41\uff0f\uff42",
        "\u0000",
        "é" * 300,
        "\U0001d54a",
        "'; DROP TABLE scores; --",
        "${jndi:x}",
        "%s%n",
    ],
)
def test_strange_text_is_only_text(ask: TestClient, text: str) -> None:
    calls = [
        ask.post("/activelearning/hybrid", json={"client_id": text, "seed": 1}),
        ask.post(f"/worklist/phantom_004/skip?client_id={'x'}", params={"client_id": text}),
        ask.get("/datastore/label", params={"label": text, "tag": text}),
        ask.get("/datastore/image", params={"image": text}),
        ask.post("/train/semiseg", json={text: text}),
        ask.put("/datastore/image/info", params={"image": "phantom_004"}, data={"info": json.dumps({text: text})}),
    ]
    assert all(answer.status_code < 500 for answer in calls)
    assert ask.get("/datastore/", params={"output": "all"}).status_code == 200


@pytest.mark.parametrize("number", [1e308, -1e308, 2**80, -1, 0, 1e-320, "1e999", True, [1], {}, None])
def test_numbers_out_of_all_bounds_are_refused_or_harmless(ask: TestClient, number: Any) -> None:
    for key in ("minutes", "epochs", "seed", "patience", "workers", "threads", "patch", "learning_rate", "gpus"):
        assert ask.post("/train/semiseg", json={key: number}).status_code < 500
    assert ask.post("/activelearning/random", json={"seed": number, "client_id": number}).status_code < 500
    assert ask.post("/batch/infer/semiseg", json={"max_batch_size": number, "label_tag": number}).status_code < 500
