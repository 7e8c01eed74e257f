"""Answers are made once, and anew when what they are made from has changed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from lib.page.answers import Answer, Answers, stamp


def test_an_answer_is_made_anew_only_when_its_stamp_changes() -> None:
    made: list[int] = []

    def make() -> list[int]:
        made.append(len(made))
        return made

    kept = Answers()
    first = kept.get("a", "1", make)
    assert kept.get("a", "1", make) is first
    assert made == [0]
    second = kept.get("a", "2", make)
    assert json.loads(second.content) == [0, 1]
    assert second.tag != first.tag


def test_equal_contents_have_equal_tags_and_no_number_is_no_json() -> None:
    assert Answer.of({"a": 1}).tag == Answer.of({"a": 1}).tag != Answer.of({"a": 2}).tag
    with pytest.raises(ValueError, match="not JSON compliant"):
        Answer.of(float("nan"))


def test_the_oldest_answers_go() -> None:
    kept, made = Answers(most=2), []
    for key in ("a", "b", "a", "c", "a", "b"):
        kept.get(key, "", lambda key=key: made.append(key))
    assert made == ["a", "b", "c", "b"], "b was used longest ago when c came"


def test_a_stamp_changes_with_each_file_and_value(tmp_path: Path) -> None:
    file, other = tmp_path / "a", tmp_path / "b"
    stamps = [stamp([file, other])]
    file.write_text("x")
    stamps.append(stamp([file, other]))
    os.utime(file, ns=(1, 1))
    stamps.append(stamp([file, other]))
    file.rename(other)
    stamps.append(stamp([file, other]))
    stamps.append(stamp([file, other], 7))
    assert len(set(stamps)) == 5
    assert stamp([file, other], 7) == stamps[-1]
