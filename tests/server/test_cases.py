"""Studies of a datastore as cases, and which files a request may name."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from lib.errors import NotFoundError
from lib.server.cases import case_of, cases_of, image_file, labelled_cases, values
from lib.server.datastore import FolderDatastore
from lib.studies.cases import find_cases
from tests.server.conftest import INFO


def test_cases_are_those_that_the_folder_itself_gives(datastore: FolderDatastore, studies: Path) -> None:
    by_id = {case.id: case for case in cases_of(datastore)}
    assert by_id == {case.id: case for case in find_cases(studies)}
    assert sorted(case.id for case in labelled_cases(datastore)) == ["phantom_000", "phantom_001", "phantom_002"]


def test_a_label_keeps_the_meaning_its_submitter_gave(datastore: FolderDatastore, studies: Path) -> None:
    label = studies / "labels" / "final" / "phantom_000.nii.gz"
    assert case_of(datastore, "phantom_000").values is None
    datastore.save_label("phantom_000", str(label), "final", {"label_info": INFO})
    assert case_of(datastore, "phantom_000").values == {1: "organ", 2: "lesion"}
    assert values({"label_info": None}) is None


def test_an_image_is_a_study_or_an_upload_and_no_other_file(
    datastore: FolderDatastore, studies: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "sessions" / "1" / "image.nii.gz"
    kept.parent.mkdir(parents=True)
    kept.touch()
    assert image_file("phantom_004", datastore, None) == studies / "phantom_004.nii.gz"
    assert image_file(str(kept), datastore, str(tmp_path / "sessions")) == kept
    with tempfile.NamedTemporaryFile(suffix=".nii.gz") as upload:
        assert image_file(upload.name, datastore, None) == Path(upload.name).resolve()
    for image in ("", "nothing", "/etc/passwd", str(kept), f"{tempfile.gettempdir()}/../etc/passwd"):
        with pytest.raises(NotFoundError, match="no study"):
            image_file(image, datastore, None)
