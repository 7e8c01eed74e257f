"""Which events of the file system are news to a datastore of a folder.

The library's observer looks through all studies after each of them, and its filter translates its patterns anew for
each event, although a file that is merely read gives two. With 16 readers these two took three quarters of the time in
which the server ran Python.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

HEARD = ("created", "moved", "deleted")


class News:
    """What others did in a folder.

    Args:
        folder: of the datastore. index: the file in it that lists all, of which changes are news too.
    """

    def __init__(self, folder: str, index: str) -> None:
        self.folder, self.index = folder, index
        self._own: dict[str, tuple[int, int]] = {}

    def own(self, file: Path, draft: Path) -> None:
        """The datastore itself is about to move this draft there: said before, because the event is fast."""
        self._own[str(file)] = _stamp(str(draft))

    def is_news(self, event: Any) -> bool:
        """Of an event of watchdog: a visible file was made, moved or deleted, and not put there by ourselves."""
        if event.event_type == "modified":
            return bool(event.src_path == self.index)
        paths = [path for path in (event.src_path, getattr(event, "dest_path", "")) if path]
        if event.event_type not in HEARD or all(map(self._is_hidden, paths)):
            return False
        return paths[-1] not in self._own or self._own[paths[-1]] != _stamp(paths[-1])

    def _is_hidden(self, path: str) -> bool:
        return any(part.startswith(".") for part in Path(os.path.relpath(path, self.folder)).parts)


def _stamp(file: str) -> tuple[int, int]:
    """Another one for another file, and (0, 0) for none."""
    try:
        found = os.stat(file)
    except OSError:
        return 0, 0
    return found.st_ino, found.st_mtime_ns
