"""The power goes at each step of storing a label: after the next start it is the old one with its info, or the new one.

A step is whatever changes the disk: a sync, a move, a deletion. A child process is ended without any chance to clean up
just before the n-th of them, for every n there is.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from lib.config import Config
from lib.server.datastore import FolderDatastore
from lib.studies.cases import final_labels
from lib.studies.phantoms import write_studies

STEPS = 60  # more than storing a label has
STUDY, SHAPE = "phantom_000", (16, 16, 12)
POWER_OFF = 9  # exit status
CHANGES = ("fsync", "replace", "unlink")


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    write_studies(tmp_path / "studies", 2, 1, shape=SHAPE)
    return tmp_path / "studies"


def until_the_power_goes(step: int, work: Callable[[], object]) -> bool:
    """Run ``work`` in a child up to this step; true if it came to its end before."""
    child = os.fork()
    if child == 0:
        left = step

        def counted(change: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                nonlocal left
                left -= 1
                if left < 0:
                    os._exit(POWER_OFF)
                return change(*args, **kwargs)

            return call

        for name in CHANGES:
            setattr(os, name, counted(getattr(os, name)))
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, POWER_OFF), "its reason is printed above"
    return code == 0


@pytest.mark.parametrize("ending", [".nii.gz", ".nii"], ids=["the same type", "another type"])
def test_a_label_is_never_mixed_with_the_info_of_another(studies: Path, tmp_path: Path, ending: str) -> None:
    config, steps = Config(), 0
    first = tmp_path / "first.nii.gz"
    image = nib.load(studies / "labels" / "final" / f"{STUDY}.nii.gz")
    first.write_bytes((studies / "labels" / "final" / f"{STUDY}.nii.gz").read_bytes())
    second = tmp_path / f"second{ending}"
    nib.save(nib.Nifti1Image(np.zeros(SHAPE, np.uint8), image.affine), second)
    wanted = {first.read_bytes(): "first", second.read_bytes(): "second"}
    for step in range(STEPS):
        FolderDatastore(str(studies), config).save_label(STUDY, str(first), "final", {"mark": "first"})
        done = until_the_power_goes(
            step,
            lambda: FolderDatastore(str(studies), config).save_label(STUDY, str(second), "final", {"mark": "second"}),
        )
        datastore = FolderDatastore(str(studies), config)
        file = Path(datastore.get_label_uri(STUDY, "final"))
        mark = datastore.get_label_info(STUDY, "final")["mark"]
        assert wanted[file.read_bytes()] == mark, f"step {step}"
        assert final_labels(studies)[STUDY] == file  # for whoever reads the folder without the datastore
        assert {"first"} <= {kept.info["mark"] for kept in datastore.history.all(STUDY, "final") if "mark" in kept.info}
        if done:
            assert mark == "second"
            steps = step
            break
    assert steps > 8, "it never came to its end"
