"""A reader and an admin, and how they log in with a browser."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page

from lib.access.passwords import hash_password
from lib.access.people import Role
from lib.access.users_file import User, changed_users

PEOPLE = {"ann": Role.READER, "boss": Role.ADMIN}


def word(name: str) -> str:
    return f"{name} and a long word"


def write_users(file: Path) -> Path:
    with changed_users(file) as users:
        for name, role in PEOPLE.items():
            users[name] = User(name, role, hash_password(word(name)))
    return file


def log_in(page: Page, name: str, password: str = "") -> None:
    """On the login page; the right password if none is given."""
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password or word(name))
    page.get_by_role("button", name="Log in").click()
