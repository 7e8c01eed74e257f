"""The login page: usable without anything else, and no way to another server."""

from __future__ import annotations

import re

import pytest

from lib.access.login_page import inside, known_page, login_form


@pytest.mark.parametrize("target", ["/ohif/", "/ohif/monai-label?StudyInstanceUIDs=1.2.3&x=%20", "/"])
def test_one_goes_back_to_where_one_came_from(target: str) -> None:
    assert inside(target, "/start") == target


@pytest.mark.parametrize(
    "target",
    ["", None, "//evil.example", "/\\evil.example", "\\\\evil.example", "https://evil.example", "javascript:alert(1)",
     "evil.example", "/\t/evil.example", "/a\nb", " /a", "/a\\b", "/\x00", "/%0a\r\nSet-Cookie: a=b"],
)  # fmt: skip
def test_but_never_to_another_server(target: str | None) -> None:
    assert inside(target, "/start") == "/start"


def test_the_form_is_plain_labelled_and_needs_nothing_from_elsewhere() -> None:
    page = login_form()
    inputs, labels = re.findall(r'<input id="(\w+)"', page), re.findall(r'<label for="(\w+)"', page)
    assert inputs == labels == ["username", "password"]
    assert 'type="password"' in page
    assert '<meta name="color-scheme" content="light dark">' in page
    assert not re.search(r"https?:|src=|<script|@import|url\(", page)


def test_nothing_of_a_request_becomes_html() -> None:
    evil = '"><script>alert(1)</script>'
    for page in (login_form(evil), known_page(evil, evil, evil, evil)):
        assert "<script" not in page
        assert "&lt;script&gt;" in page
