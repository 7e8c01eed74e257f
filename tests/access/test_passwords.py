"""Passwords are kept so that nobody can read them, and compared in the same time for users who do not exist."""

from __future__ import annotations

import pytest

from lib.access import passwords
from lib.access.passwords import fits, hash_password, is_hash
from lib.errors import ConfigError


def test_a_hash_fits_its_password_only_and_shows_neither_it_nor_that_two_are_alike() -> None:
    password = "correct horse"
    first, second = hash_password(password), hash_password(password)
    assert first != second
    assert password not in first
    assert fits(password, first)
    assert not fits("correct house", first)
    assert not fits("", first)


def test_hashes_are_argon2id_with_the_memory_of_rfc_9106() -> None:
    made = hash_password("correct horse")
    assert made.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert is_hash(made)
    for text in ("", "correct horse", made.replace("argon2id", "argon2i"), made[:40], "$argon2id$v=19$m=x,t=3,p=4$a$b"):
        assert not is_hash(text), text


@pytest.mark.parametrize("password", ["short", "x" * 1025])
def test_what_is_no_password_is_refused(password: str) -> None:
    with pytest.raises(ConfigError, match="10 to 1024 characters"):
        hash_password(password)


def test_for_nobody_a_hash_is_computed_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    class Hasher:
        def verify(self, known: str, password: str) -> bool:
            compared.append(known)
            return True

    nobodys = passwords._nobodys()
    monkeypatch.setattr(passwords, "_hasher", Hasher())
    assert not fits("the password of a user who does not exist", None), "not even with the password of that hash"
    assert compared == [nobodys]
