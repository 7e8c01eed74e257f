"""Studies of a datastore as cases, and which files a request may name."""

from __future__ import annotations

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


def test_an_image_is_a_study_or_a_file_of_the_servers_own_and_no_path_of_a_client(
    datastore: FolderDatastore, studies: Path
) -> None:
    image = studies / "phantom_004.nii.gz"
    assert image_file("phantom_004", datastore) == image
    assert image_file(image, datastore) == image
    for path in ("", "nothing", "/etc/passwd", str(image), f"{studies}/../studies/phantom_004.nii.gz"):
        with pytest.raises(NotFoundError, match="no study"):
            image_file(path, datastore)
