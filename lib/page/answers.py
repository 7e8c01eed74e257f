"""Answers that are made once and given again until what they were made from has changed."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MOST = 64  # answers; each page of a list is one


@dataclass(frozen=True)
class Answer:
    """JSON, and a tag that is another one for another content (RFC 9110, 8.8.3)."""

    content: bytes
    tag: str

    @classmethod
    def of(cls, values: Any) -> Answer:
        """These plain values; a number that is none would be no JSON."""
        content = json.dumps(values, allow_nan=False, separators=(",", ":")).encode()
        return cls(content, hashlib.sha256(content).hexdigest()[:16])


class Answers:
    """The newest answers by key. Threads may share it; of several that miss the same answer, one makes it."""

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self._answers: OrderedDict[Hashable, tuple[str, Answer]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, stamp: str, make: Callable[[], Any]) -> Answer:
        """The answer under this key, made anew if the stamp has changed."""
        with self._lock:
            known = self._answers.get(key)
            if known is None or known[0] != stamp:
                known = self._answers[key] = (stamp, Answer.of(make()))
            self._answers.move_to_end(key)
            while len(self._answers) > self.most:
                self._answers.popitem(last=False)
            return known[1]


def stamp(files: Iterable[Path], *more: object) -> str:
    """Changes when one of the files does, comes or goes, or one of the values changes; no file is read."""
    parts = [*(f"{file} {_state(file)}" for file in files), *map(str, more)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _state(file: Path) -> str:
    try:
        found = file.stat()
    except OSError:
        return "-"
    return f"{found.st_ino} {found.st_mtime_ns} {found.st_size}"
