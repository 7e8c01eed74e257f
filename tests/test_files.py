"""A file is whole and on the disk, or as it was before; a full disk is said in a sentence."""

from __future__ import annotations

import errno
import os
import resource
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from lib.errors import StorageFullError
from lib.files import full_disk_said, is_full, remove_drafts, whole_file, write_whole
from lib.inference.model_file import save_whole


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """No file may grow beyond so many bytes: what a full disk does, without filling one."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_the_new_content_takes_the_place_of_the_old(tmp_path: Path) -> None:
    file = tmp_path / "new folder" / "file.txt"
    write_whole(file, "one")
    write_whole(file, b"two")
    assert file.read_bytes() == b"two"
    assert list(file.parent.iterdir()) == [file]


def test_file_and_folder_are_on_the_disk_in_the_right_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file before its name changes, the folder after: else a power cut leaves a name with nothing behind it."""
    done: list[str] = []
    sync, replace = os.fsync, os.replace

    def synced(handle: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        sync(handle)

    def moved(draft: Path, path: Path) -> None:
        done.append("move")
        replace(draft, path)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", moved)
    write_whole(tmp_path / "file", "content")
    assert done == ["file", "move", "folder"]


def break_off(file: Path) -> None:
    """A writer that fails half way."""
    with whole_file(file) as draft:
        draft.write_text("ne")
        raise RuntimeError("broken")


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "file"
    write_whole(file, "old")
    with pytest.raises(RuntimeError, match="broken"):
        break_off(file)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "model.pt"
    save_whole({"weights": torch.zeros(10)}, file)
    before = file.read_bytes()
    said = r"^The model was not saved, because the disk is full"
    with disk_of(20_000), pytest.raises(StorageFullError, match=said), full_disk_said("The model was not saved"):
        save_whole({"weights": torch.zeros(100_000)}, file)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_drafts_of_the_dead_are_removed(tmp_path: Path) -> None:
    write_whole(tmp_path / "file", "content")
    left = tmp_path / ".part-dead"
    left.mkdir()
    (left / "other").write_text("half")
    with whole_file(tmp_path / "draft") as draft:
        assert draft.parent.name.startswith(".part-")  # as those that are looked for
        draft.write_text("")
    remove_drafts(tmp_path)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["draft", "file"]


def chained(error: BaseException) -> BaseException:
    """As a library raises another exception over the one that was the reason."""
    try:
        try:
            raise error
        except type(error):
            raise RuntimeError("file write failed")  # noqa: B904  as some libraries do
    except RuntimeError as outer:
        return outer


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (sqlite3.OperationalError("database or disk is full"), True),
        (chained(OSError(errno.ENOSPC, "x")), True),
        (OSError(errno.EACCES, "Permission denied"), False),
        (sqlite3.OperationalError("database is locked"), False),
        (RuntimeError("another"), False),
        (None, False),
    ],
)
def test_what_a_full_disk_looks_like(error: BaseException | None, full: bool) -> None:
    assert is_full(error) is full


def test_other_failures_pass_as_they_are() -> None:
    with pytest.raises(PermissionError), full_disk_said("Nothing was done"):
        raise PermissionError(errno.EACCES, "Permission denied")
    said = StorageFullError("the sentence of who knew more")
    with pytest.raises(StorageFullError) as raised, full_disk_said("Nothing was done"):
        raise said
    assert raised.value is said
