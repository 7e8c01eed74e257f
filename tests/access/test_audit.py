"""The audit log: each entry on the disk, whole, in order, whoever writes at the same time."""

from __future__ import annotations

import json
import logging
import multiprocessing
from pathlib import Path

import pytest

from lib.access.audit import AuditLog


def write(folder: Path, who: int) -> None:
    log = AuditLog(folder, size=400)
    for number in range(50):
        log.write("label submitted", f"reader {who}", "10.0.0.1", study=f"{who}-{number}")


def test_processes_lose_nothing_and_files_begin_anew_by_size(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write, args=(tmp_path, who)) for who in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    found = AuditLog(tmp_path).entries()
    assert sorted(entry["study"] for entry in found) == sorted(f"{who}-{n}" for who in range(4) for n in range(50))
    for who in range(4):
        mine = [entry["study"] for entry in found if entry["who"] == f"reader {who}"]
        assert mine == [f"{who}-{n}" for n in range(50)]
    files = list(tmp_path.glob("audit*.jsonl"))
    assert len(files) > 30
    assert max(file.stat().st_size for file in files) < 600
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)


def test_an_entry_says_who_when_from_where_and_what(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    log.write("label changed", "ann", "10.0.0.1", study="a\nb", path=None)
    log.write("training stopped")
    (line, _) = log.file.read_text().splitlines()
    entry = json.loads(line)
    assert entry.pop("when").endswith("+00:00")
    assert entry == {"who": "ann", "from": "10.0.0.1", "what": "label changed", "study": "a\nb"}
    assert log.entries(last=1)[0]["who"] == "-"


def test_half_a_line_costs_no_other_one(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    log.write("one")
    with log.file.open("a") as file:
        file.write('{"when": "20')
    log.write("two")
    assert [entry["what"] for entry in log.entries()] == ["one", "two"]


def test_what_a_client_makes_up_does_not_fill_the_disk(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    log.write("study deleted", study="x" * 100_000)
    assert log.file.stat().st_size < 500


def test_a_log_that_cannot_be_written_is_said_so_and_the_entry_is_not_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "audit.jsonl").mkdir()
    with caplog.at_level(logging.ERROR):
        AuditLog(tmp_path).write("label submitted", "ann", study="case 7")
    assert "cannot be written" in caplog.text
    assert "case 7" in caplog.text


def test_the_newest_entries_are_read_from_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = AuditLog(tmp_path)
    assert log.recent(5) == []
    for number in range(30):
        log.write("label submitted", study=str(number))
    assert log.recent(3) == log.entries()[-3:]
    monkeypatch.setattr("lib.access.audit.TAIL", 500)
    found = log.recent(30)
    assert 0 < len(found) < 30
    assert found == log.entries()[-len(found) :], "the line in which the reading began is left out"
