"""What all tests share: one CPU thread, and folders of generated studies."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch starts; child processes of a test inherit it
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
import torch

from lib.studies.phantoms import write_studies
from tests.clock import Clock

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def phantom_studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six phantom studies of 40 x 40 x 28 voxels, the first three labelled. Shared by all tests: only to be read."""
    folder = tmp_path_factory.mktemp("phantoms") / "studies"
    write_studies(folder, count=6, labelled=3, seed=0, shape=(40, 40, 28))
    return folder


@pytest.fixture
def studies(phantom_studies: Path, tmp_path: Path) -> Path:
    """A copy of ``phantom_studies`` that the test may change."""
    return shutil.copytree(phantom_studies, tmp_path / "studies")


@pytest.fixture
def clock() -> Clock:
    return Clock()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs a real Orthanc is left to ``make test-e2e``, which installs one where it may."""
    for item in items:
        if "orthanc_server" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.programs)
