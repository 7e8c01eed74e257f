"""Sessions: signed notes (JSON Web Tokens, RFC 7519) that say who has logged in until when.

Browsers carry them in a cookie, 3D Slicer and scripts as bearer tokens. The key that signs them lies in the model
folder, so a restart of the server ends no session; logging out ends one for good.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jwt
from filelock import FileLock

from lib.access.people import Person, Role
from lib.errors import ConfigError

ALGORITHM = "HS256"  # the only one that is accepted: a token does not choose how it is verified
AUDIENCE = "semiseg"
OWN_PROCESSES = 60.0  # s for which the token of one of the server's own processes holds
SERVER = Person("server", Role.ADMIN)  # a training that asks for the scoring after it


class Sessions:
    """Makes and reads the tokens of one project.

    Args:
        file: where the key and the sessions that were logged out are kept; made if it is missing.
        hours: after which a session ends.
        now: seconds since 1970.

    Raises:
        ConfigError: the file is damaged, or others may read it.
    """

    def __init__(self, file: Path, hours: float, now: Callable[[], float] = time.time) -> None:
        self.file, self.seconds, self.now = file, 3600 * hours, now
        self._lock = threading.Lock()
        self._key, self._ended = self._load_or_make()

    @property
    def cookie(self) -> str:
        """Name of the cookie. Cookies are shared by all ports of a host, so each project has a name of its own."""
        return f"semiseg-{hashlib.sha256(self._key.encode()).hexdigest()[:8]}"

    def begin(self, person: Person, noted: Mapping[str, Any]) -> str:
        """The token of a new session.

        Args:
            noted: what the directory wants to be told when the token comes back.
        """
        return self._signed(person.name, self.seconds, {"noted": dict(noted)})

    def read(self, token: str) -> dict[str, Any] | None:
        """``sub`` (name), ``noted``, ``jti``, ``exp`` of a token that holds; None if it does not."""
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                options={"require": ["exp", "sub", "jti"], "verify_exp": False},
            )
        except jwt.InvalidTokenError:
            return None
        return claims if self.now() < claims["exp"] and claims["jti"] not in self._ended else None

    def end(self, token: str) -> None:
        """Log a session out, also for a restarted server."""
        claims = self.read(token)
        if claims is None:
            return
        with self._lock, FileLock(self.file.with_suffix(".lock"), mode=0o600):
            _, ended = _load(self.file)
            kept = {name: until for name, until in ended.items() if until > self.now()}
            self._ended = kept | {claims["jti"]: claims["exp"]}
            self._save()

    def own_token(self) -> str:
        """For one of the server's own processes, which may read the key."""
        return self._signed(SERVER.name, OWN_PROCESSES, {"own": True})

    def _signed(self, name: str, seconds: float, more: Mapping[str, Any]) -> str:
        about = {"sub": name, "aud": AUDIENCE, "jti": secrets.token_hex(16), "exp": int(self.now() + seconds)}
        return jwt.encode({**about, **more}, self._key, ALGORITHM)

    def _load_or_make(self) -> tuple[str, dict[str, float]]:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.file.with_suffix(".lock"), mode=0o600):
            if not self.file.exists():
                self._key, self._ended = secrets.token_hex(32), {}
                self._save()
            return _load(self.file)

    def _save(self) -> None:
        draft = self.file.with_name(f".{self.file.name}.{os.getpid()}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            json.dump({"key": self._key, "ended": self._ended}, out)
            out.flush()
            os.fsync(out.fileno())
        os.replace(draft, self.file)


def _load(file: Path) -> tuple[str, dict[str, float]]:
    remedy = "delete it, and all will have to log in again"
    if file.stat().st_mode & 0o077:
        raise ConfigError(f"The session key {file} can be read by others: {remedy}")
    try:
        found = json.loads(file.read_text())
        key, ended = found["key"], found["ended"]
        if len(bytes.fromhex(key)) < 32 or not isinstance(ended, dict):
            raise ValueError("the key is too short")
    except (ValueError, TypeError, LookupError) as error:
        raise ConfigError(f"The session key {file} is damaged ({error}): {remedy}") from None
    return key, ended
