"""A damaged index is set aside, and what can be read of it is kept."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from lib.config import Config
from lib.server.datastore import FolderDatastore
from lib.server.index_file import mend_index
from tests.server.conftest import INFO


@pytest.fixture
def index(studies: Path, config: Config) -> Path:
    """Of a folder whose studies have notes, one of them with a submitted label."""
    datastore = FolderDatastore(str(studies), config)
    for study in datastore.list_images():
        datastore.update_image_info(study, {"seen": study})
    label = datastore.get_label_uri("phantom_001", "final")
    datastore.save_label("phantom_001", label, "final", {"label_info": INFO, "client_id": "reader"})
    return studies / "datastore_v2.json"


def altered(index: Path, **values: Any) -> str:
    return json.dumps(json.loads(index.read_text()) | values)


WRONG = {
    "empty": lambda index: "",
    "cut": lambda index: index.read_text()[:300],
    "garbage": lambda index: "\x00\xff" * 50,
    "null": lambda index: "null",
    "a list": lambda index: "[]",
    "no objects": lambda index: altered(index, objects=[1, 2]),
    "other folders": lambda index: altered(index, labels_dir="/tmp"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_it_is_mended_from_files_and_history(
    index: Path, config: Config, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    index.write_text(WRONG[kind](index))
    broken = index.read_bytes()
    with caplog.at_level(logging.ERROR):
        datastore = FolderDatastore(str(index.parent), config)
    assert len(datastore.list_images()) == 6
    assert sorted(datastore.get_labeled_images()) == ["phantom_000", "phantom_001", "phantom_002"]
    info = datastore.get_label_info("phantom_001", "final")
    assert (info["label_info"], info["client_id"]) == (INFO, "reader")
    (aside,) = index.parent.glob("datastore_v2.json.damaged-*")
    assert aside.read_bytes() == broken
    assert "was damaged and is now" in caplog.text


def test_sound_entries_of_a_damaged_index_are_kept(index: Path, config: Config) -> None:
    values = json.loads(index.read_text())
    values["objects"]["phantom_000"]["image"] = "wrong"
    values["objects"]["phantom_002"]["image"]["ext"] = "/../../x"
    values["objects"]["../elsewhere"] = values["objects"]["phantom_003"]
    index.write_text(json.dumps(values))
    datastore = FolderDatastore(str(index.parent), config)
    assert sorted(datastore.list_images()) == [f"phantom_00{number}" for number in range(6)]
    seen = {study: datastore.get_image_info(study).get("seen") for study in datastore.list_images()}
    lost = {"phantom_000", "phantom_002"}
    assert seen == {study: None if study in lost else study for study in seen}


def test_a_whole_index_is_left_alone(index: Path) -> None:
    before = index.read_bytes()
    mend_index(index)
    mend_index(index.with_name("none.json"))
    assert index.read_bytes() == before
    assert list(index.parent.glob("*damaged*")) == []
