"""Which events of the file system a datastore hears of."""

from __future__ import annotations

from pathlib import Path

import pytest
from watchdog import events

from lib.server.news import News


@pytest.fixture
def news(tmp_path: Path) -> News:
    (tmp_path / "labels" / "final").mkdir(parents=True)
    return News(str(tmp_path), str(tmp_path / "index.json"))


def test_what_others_make_move_and_delete_is_news(news: News, tmp_path: Path) -> None:
    file, draft = str(tmp_path / "a.nii.gz"), str(tmp_path / ".a.part")
    assert news.is_news(events.FileCreatedEvent(file))
    assert news.is_news(events.FileDeletedEvent(file))
    assert news.is_news(events.FileMovedEvent(draft, file))
    assert news.is_news(events.FileMovedEvent(file, draft))
    assert news.is_news(events.FileModifiedEvent(str(tmp_path / "index.json")))


def test_reading_writing_on_and_drafts_are_none(news: News, tmp_path: Path) -> None:
    file, hidden = str(tmp_path / "a.nii.gz"), str(tmp_path / "labels" / ".history" / "final" / "a.nii.gz")
    for event in (events.FileOpenedEvent(file), events.FileClosedNoWriteEvent(file), events.FileModifiedEvent(file)):
        assert not news.is_news(event)
    assert not news.is_news(events.DirModifiedEvent(str(tmp_path)))
    assert not news.is_news(events.FileCreatedEvent(hidden))
    assert not news.is_news(events.FileMovedEvent(hidden, str(tmp_path / ".part-1" / "a.nii.gz")))


def test_a_label_of_our_own_is_none_until_somebody_replaces_or_deletes_it(news: News, tmp_path: Path) -> None:
    label = tmp_path / "labels" / "final" / "a.nii.gz"
    draft = label.with_name("draft")
    draft.write_bytes(b"ours")
    news.own(label, draft)
    draft.replace(label)
    arrived = events.FileMovedEvent(str(tmp_path / "labels" / "final" / ".part-1" / "a.nii.gz"), str(label))
    assert not news.is_news(arrived)
    other = tmp_path / "other"
    other.write_bytes(b"theirs")
    other.replace(label)
    assert news.is_news(arrived)
    news.own(label, label)
    label.unlink()
    assert news.is_news(events.FileDeletedEvent(str(label)))
