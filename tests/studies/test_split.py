"""A side is a hash of the id, decided once and for ever."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from lib.studies.cases import TRAINING, UNLABELLED, VALIDATION, Case
from lib.studies.split import Split, fraction


def labelled(*ids: str) -> list[Case]:
    return [Case(study, Path(study), Path(study)) for study in ids]


def sides(cases: list[Case]) -> dict[str, str]:
    return {case.id: case.side for case in cases}


MANY = [f"study-{number:03d}" for number in range(400)]


def test_the_fraction_is_the_head_of_sha256() -> None:
    digest = hashlib.sha256(b"study-001").hexdigest()
    assert fraction("study-001") == pytest.approx(int(digest[:16], 16) / 16**16)


def test_the_share_of_validation_is_the_asked_one(tmp_path: Path) -> None:
    found = list(sides(Split(tmp_path / "split.json").assign(labelled(*MANY), 0.2)).values())
    assert 0.14 < found.count(VALIDATION) / len(MANY) < 0.26  # three standard errors
    assert found.count(VALIDATION) + found.count(TRAINING) == len(MANY)


def test_unlabelled_studies_are_on_no_side_until_they_are_labelled(tmp_path: Path) -> None:
    split = Split(tmp_path / "split.json")
    found = split.assign([Case("new", Path("new")), *labelled("old")], 0.5)
    assert sides(found)["new"] == UNLABELLED
    assert "new" not in json.loads((tmp_path / "split.json").read_text())


def test_a_side_never_changes_whatever_the_settings_and_the_others(tmp_path: Path) -> None:
    file = tmp_path / "split.json"
    first = sides(Split(file).assign(labelled(*MANY[:100]), 0.2))
    later = sides(Split(file).assign(labelled(*MANY[::-1]), 0.9))
    assert {study: later[study] for study in MANY[:100]} == first
    assert sides(Split(file).assign(labelled(*MANY[:100]), 0.0)) == first


def test_the_side_comes_back_when_a_label_was_away(tmp_path: Path) -> None:
    file = tmp_path / "split.json"
    first = sides(Split(file).assign(labelled(*MANY[:50]), 0.5))
    Split(file).assign(labelled(*MANY[25:50]), 0.5)
    assert sides(Split(file).assign(labelled(*MANY[:50]), 0.5)) == first


def test_the_first_label_is_trained_on_and_stays_so(tmp_path: Path) -> None:
    file = tmp_path / "split.json"
    low = min(MANY, key=fraction)
    assert sides(Split(file).assign(labelled(low), 0.5)) == {low: TRAINING}
    assert sides(Split(file).assign(labelled(low, *MANY[:20]), 0.5))[low] == TRAINING


def test_of_labels_that_would_all_validate_the_one_of_the_largest_hash_trains(tmp_path: Path) -> None:
    low = sorted(MANY, key=fraction)[:4]
    found = sides(Split(tmp_path / "split.json").assign(labelled(*low), 0.9))
    assert found == dict.fromkeys(low[:3], VALIDATION) | {low[3]: TRAINING}


def test_no_share_means_no_validation(tmp_path: Path) -> None:
    assert set(sides(Split(tmp_path / "split.json").assign(labelled(*MANY), 0.0)).values()) == {TRAINING}


def test_a_new_split_of_the_same_studies_is_the_same(tmp_path: Path) -> None:
    first = Split(tmp_path / "a" / "split.json").assign(labelled(*MANY), 0.3)
    second = Split(tmp_path / "b" / "split.json").assign(labelled(*MANY[::-1]), 0.3)
    assert sides(first) == sides(second)
    assert [case.id for case in second] == MANY[::-1]
