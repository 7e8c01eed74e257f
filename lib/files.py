"""Writing files that outlive a power cut: each is whole and on the disk before anyone is told so.

``os.replace`` alone makes a file whole for readers, not for the disk: after a power cut the name may stand there with
nothing behind it. So the new file is synced before it takes its place, and its folder after that (``man 2 fsync``).
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lib.errors import StorageFullError

DRAFTS = ".part-"  # how the names of drafts' folders begin
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FULL_WORDS = ("No space left on device", "Disk quota exceeded", "database or disk is full", "File too large")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A draft to write to, of the same name in a folder of its own, which takes its place when the block has ended.

    Raises:
        OSError: it cannot be written; ``path`` is then as it was, and nothing is left of the draft.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=DRAFTS, dir=path.parent) as folder:
        draft = Path(folder) / path.name
        yield draft
        _sync(draft)
        os.replace(draft, path)
    _sync(path.parent)


def write_whole(path: Path, content: str | bytes) -> None:
    """The whole content of a small file; see :func:`whole_file`."""
    with whole_file(path) as draft:
        draft.write_bytes(content.encode() if isinstance(content, str) else content)


def remove(path: Path) -> None:
    """Delete a file, if it is there, for good: it does not come back with a power cut."""
    path.unlink(missing_ok=True)
    _sync(path.parent)


def remove_drafts(folder: Path) -> None:
    """Delete what processes that were killed have left of :func:`whole_file`; nobody else may write there now."""
    for draft in folder.glob(f"{DRAFTS}*"):
        shutil.rmtree(draft, ignore_errors=True)


def is_full(error: BaseException | None) -> bool:
    """Whether a full disk or quota is behind this, also where a library has put another exception over it."""
    while error is not None:
        full = isinstance(error, OSError) and error.errno in FULL
        full |= isinstance(error, sqlite3.Error) and error.args[:1] == ("database or disk is full",)
        if full or any(words in str(error) for words in FULL_WORDS):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def full_disk_said(what: str) -> Iterator[None]:
    """A full disk within the block as one sentence.

    Args:
        what: was not done, and what stayed as it was: a clause such as "The label was not taken".

    Raises:
        StorageFullError: instead of what the block has raised.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, StorageFullError) or not is_full(error):
            raise
        raise StorageFullError(f"{what}, because the disk is full; free some space and try again") from error


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
