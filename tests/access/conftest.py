"""A users file whose hashes are quick to make: what is tested here is not how long they take."""

from __future__ import annotations

from pathlib import Path

import pytest
from argon2 import PasswordHasher

from lib.access import passwords
from lib.access.passwords import hash_password
from lib.access.people import Role
from lib.access.users_file import User, changed_users


@pytest.fixture(autouse=True)
def quick_hashes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "test_passwords" not in request.node.nodeid:
        monkeypatch.setattr(passwords, "_hasher", PasswordHasher(1, 8, 1))
        passwords._nobodys.cache_clear()


@pytest.fixture
def users(tmp_path: Path) -> Path:
    """ann (reader), rev (reviewer) and boss (admin); the password is the name and " and a long word"."""
    file = tmp_path / "users"
    with changed_users(file) as found:
        for name, role in (("ann", Role.READER), ("rev", Role.REVIEWER), ("boss", Role.ADMIN)):
            found[name] = User(name, role, hash_password(f"{name} and a long word"))
    return file
