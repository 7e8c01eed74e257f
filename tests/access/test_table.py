"""Which role a request asks for; what does not stand in the table is closed."""

from __future__ import annotations

import pytest

from lib.access.people import Role
from lib.access.table import TABLE, Entry, Table

READER, REVIEWER, ADMIN = Role.READER, Role.REVIEWER, Role.ADMIN


@pytest.mark.parametrize(
    ("method", "path", "role"),
    [
        ("GET", "/auth/", None),
        ("POST", "/auth/token", None),
        ("GET", "/info/", READER),
        ("GET", "/info", READER),  # the router redirects it
        ("HEAD", "/datastore/label", READER),
        ("PUT", "/datastore/label", READER),
        ("GET", "/ohif/any/where.js", READER),
        ("DELETE", "/datastore/label", REVIEWER),
        ("PUT", "/datastore", REVIEWER),
        ("DELETE", "/datastore/", ADMIN),
        ("DELETE", "/datastore/image", ADMIN),
        ("POST", "/train/semiseg", ADMIN),
        ("POST", "/train", ADMIN),
        ("DELETE", "/train/", ADMIN),
        ("GET", "/train/", READER),
        ("GET", "/model/info/semiseg", ADMIN),
        ("GET", "/logs/", ADMIN),
    ],
)
def test_roles(method: str, path: str, role: Role | None) -> None:
    found = Table().find(method, path)
    assert found
    assert found.role == role


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "//info/"), ("GET", "/train/x/y"), ("PATCH", "/info/"), ("OPTIONS", "/train/"),
     ("TRACE", "/info/"), ("GET", "/INFO/"), ("GET", "/auth/../logs/"), ("POST", "/infer/a/b/c"), ("GET", "/info/x")],
)  # fmt: skip
def test_what_is_unknown_is_closed(method: str, path: str) -> None:
    assert Table().find(method, path) is None


def test_of_two_entries_that_fit_the_stricter_one_counts() -> None:
    entries = (Entry("GET", "/a/{path:path}", None), Entry("GET", "/a/b", ADMIN), Entry("GET", "/a/{name}", READER))
    found = Table(entries=entries).find("GET", "/a/b")
    assert found
    assert found.role == ADMIN


def test_a_prefix_is_of_all_routes_but_those_of_the_server_itself() -> None:
    table = Table("/api")
    assert table.find("GET", "/api/info/")
    assert table.find("GET", "/info/") is None
    assert table.find("GET", "/docs")
    assert table.find("GET", "/")


def test_only_what_logs_in_and_health_is_open() -> None:
    paths = {entry.path for entry in TABLE if entry.role is None}
    assert {path for path in paths if not path.startswith("/auth/")} == {"/health", "/favicon.ico"}
    assert len({(entry.method, entry.path) for entry in TABLE}) == len(TABLE)
