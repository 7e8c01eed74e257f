"""Passwords as hashes that cannot be turned back: Argon2id (RFC 9106), the first choice of OWASP's recommendations.

The standard library has scrypt only, without a text form that names its parameters; with argon2-cffi a hash says how it
was made, so that the parameters can grow without a new format.
"""

from __future__ import annotations

import threading
from functools import cache

from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError

from lib.errors import ConfigError

SHORTEST, LONGEST = 10, 1024  # characters
AT_ONCE = 2  # a hash takes 64 MiB: many logins at the same time must not take the server's memory

_hasher = PasswordHasher()  # the library's defaults: RFC 9106's second recommended option
_places = threading.BoundedSemaphore(AT_ONCE)


def hash_password(password: str) -> str:
    """The hash of a new password, with a salt of its own.

    Raises:
        ConfigError: too short, or too long.
    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise ConfigError(f"A password has {SHORTEST} to {LONGEST} characters, this one has {len(password)}")
    with _places:
        return _hasher.hash(password)


def is_hash(text: str) -> bool:
    """Whether a text is a hash of :func:`hash_password`."""
    try:
        extract_parameters(text)
    except InvalidHashError:
        return False
    return text.startswith("$argon2id$")


def fits(password: str, known: str | None) -> bool:
    """Whether a password is the one of this hash. For None, a user who does not exist, it takes as long and is not."""
    if len(password) > LONGEST:
        return False
    with _places:
        nobodys = _nobodys()  # also for those who exist: the first login makes it
        try:
            return _hasher.verify(known or nobodys, password) and known is not None
        except (VerificationError, InvalidHashError):
            return False


@cache
def _nobodys() -> str:
    return _hasher.hash("the password of a user who does not exist")
