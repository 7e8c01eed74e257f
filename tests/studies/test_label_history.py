"""What was submitted is found again with its info, and an earlier label can count again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lib.errors import NotFoundError
from lib.studies.label_history import STAMP, LabelHistory, place, restore


@pytest.fixture
def history(tmp_path: Path) -> LabelHistory:
    return LabelHistory(tmp_path / "studies" / "labels", keep=2)


def file_of(tmp_path: Path, content: str) -> Path:
    file = tmp_path / "submitted.nii.gz"
    file.write_text(content)
    return file


def test_each_label_is_kept_with_its_info_and_who_submitted_it(history: LabelHistory, tmp_path: Path) -> None:
    first = history.put("a", "final", file_of(tmp_path, "one"), ".nii.gz", {"client_id": "Dr. Ärztin/7", "n": 1})
    second = history.put("a", "final", file_of(tmp_path, "two"), ".nii.gz", {"submitted_by": "b", "client_id": "c"})
    assert [kept.file.read_text() for kept in history.all("a", "final")] == ["one", "two"]
    assert history.all("a", "final")[0].info == {"client_id": "Dr. Ärztin/7", "n": 1, STAMP: first.stamp}
    assert (first.who, second.who) == ("Dr._Ärztin_7", "b")  # who has logged in counts more than a client's word
    assert first.file.parent == history.folder / "final" / "a"
    assert first.time < second.time
    assert history.newest("a", "final") == second.stamp
    assert history.studies("final") == {"a"}
    assert history.all("other", "final") == []


def test_what_was_not_written_to_its_end_was_never_taken(history: LabelHistory, tmp_path: Path) -> None:
    kept = history.put("a", "final", file_of(tmp_path, "one"), ".nii.gz", {})
    note = kept.file.with_name(f"{kept.stamp}.json")
    whole = note.read_text()
    for content in ("", whole[:20], "[]", "{}"):
        note.write_text(content)
        assert history.all("a", "final") == []
    note.write_text(whole)
    kept.file.unlink()
    assert history.all("a", "final") == []


def test_a_file_is_found_by_its_content(history: LabelHistory, tmp_path: Path) -> None:
    file = file_of(tmp_path, "same")
    first, second = (history.put("a", "final", file, ".nii.gz", {"n": n}) for n in (1, 2))
    found = history.find("a", "final", file)
    assert found is not None
    assert found.info["n"] == 2
    found = history.find("a", "final", file, first.stamp)
    assert found is not None
    assert found.info["n"] == 1
    assert history.find("a", "final", file_of(tmp_path, "another")) is None
    history.changed("a", "final", second.stamp, {"n": 3})
    assert [kept.info["n"] for kept in history.all("a", "final")] == [1, 3]


def test_the_oldest_go_but_never_the_one_that_counts(history: LabelHistory, tmp_path: Path) -> None:
    for tag in ("final", "original"):
        for number in range(5):
            history.put("a", tag, file_of(tmp_path, str(number)), ".nii.gz", {})
        history.prune("a", tag)
    assert [kept.file.read_text() for kept in history.all("a", "final")] == ["2", "3", "4"]
    assert [kept.file.read_text() for kept in history.all("a", "original")] == ["3", "4"]
    assert len(list((history.folder / "final" / "a").iterdir())) == 6


def test_an_earlier_label_counts_again_and_the_present_one_is_kept(history: LabelHistory, tmp_path: Path) -> None:
    studies = tmp_path / "studies"
    old = history.put("a", "final", file_of(tmp_path, "old"), ".nrrd", {"label_info": [{"name": "x", "idx": 1}]}, "me")
    present = studies / "labels" / "final" / "a.nii.gz"
    present.parent.mkdir()
    present.write_text("by another program")
    index = {"objects": {"a": {"labels": {"final": {"ext": ".nii.gz", "info": {"label_info": []}}}}}}
    (studies / "datastore_v2.json").write_text(json.dumps(index))
    kept = restore(studies, history, "a", old.stamp)
    assert not present.exists()
    assert (present.parent / "a.nrrd").read_text() == "old"
    assert kept.info["restored"] == old.stamp
    entry = json.loads((studies / "datastore_v2.json").read_text())["objects"]["a"]["labels"]["final"]
    assert entry == {"ext": ".nrrd", "info": kept.info | {"name": "a.nrrd"}}
    contents = [each.file.read_text() for each in history.all("a", "final")]
    assert contents == ["old", "by another program", "old"]
    with pytest.raises(NotFoundError, match=rf"no kept final label 'nonsense'; there are: {old.stamp}"):
        restore(studies, history, "a", "nonsense")


def test_a_label_takes_its_place_whole(history: LabelHistory, tmp_path: Path) -> None:
    kept = history.put("a", "final", file_of(tmp_path, "one"), ".nii.gz", {})
    place(kept, tmp_path / "there" / "a.nii.gz")
    assert (tmp_path / "there" / "a.nii.gz").read_text() == "one"
    assert kept.file.read_text() == "one"
