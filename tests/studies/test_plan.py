"""The plan is what the studies suggest: median spacing and shape, CT by its air, and the window of the foreground."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lib.config import Config
from lib.errors import NotReadyError
from lib.studies.cases import Case, find_cases
from lib.studies.labels import LabelMap
from lib.studies.plan import AIR, STEP, Plan, make_plan, patch_size

MAP = LabelMap({1: "liver"})


def study(
    folder: Path, name: str, array: np.ndarray, spacing: tuple[float, ...], label: np.ndarray | None = None
) -> None:
    """A volume, and its label if there is one, with these voxel edges along R, A, S."""
    (folder / "labels" / "final").mkdir(parents=True, exist_ok=True)
    affine = np.diag([*spacing, 1.0])
    nib.save(nib.Nifti1Image(array.astype(np.float32), affine), folder / f"{name}.nii.gz")
    if label is not None:
        nib.save(nib.Nifti1Image(label.astype(np.uint8), affine), folder / "labels" / "final" / f"{name}.nii.gz")


def volume(seed: int, shape: tuple[int, ...] = (20, 16, 12), low: float = 0.0, high: float = 1000.0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, high, shape)


def test_spacing_and_patch_are_those_of_the_median_study(tmp_path: Path) -> None:
    for name, spacing, shape in [
        ("a", (1, 1, 2), (40, 40, 10)),
        ("b", (1, 1, 3), (64, 48, 24)),
        ("c", (2, 2, 9), (80, 90, 20)),
    ]:
        study(tmp_path, name, volume(0, shape), spacing)
    plan = make_plan(find_cases(tmp_path), MAP, Config())
    assert plan.spacing == (1, 1, 3)  # each axis by itself: medians of 1 1 2, 1 1 2 and 2 3 9
    assert plan.modality == "mr"
    assert plan.window == ()
    median = np.array([64, 48, 24])  # mm 64, 48, 72 at 1, 1, 3 mm
    assert all(edge % STEP == 0 and edge <= n for edge, n in zip(plan.patch, median, strict=True))


def test_what_the_settings_give_is_taken(tmp_path: Path) -> None:
    study(tmp_path, "a", volume(0), (1, 1, 1))
    plan = make_plan(find_cases(tmp_path), MAP, Config(spacing=(1.5, 1.5, 1.5), patch=(24, 24, 8), modality="ct"))
    assert (plan.spacing, plan.patch, plan.modality) == ((1.5, 1.5, 1.5), (24, 24, 8), "ct")


def test_ct_is_known_by_its_air_and_windowed_by_its_labelled_foreground(tmp_path: Path) -> None:
    label = np.zeros((20, 16, 12))
    label[4:16, 4:12, 2:10] = 1
    for seed in range(3):
        body = volume(seed, low=50, high=150)
        study(tmp_path, f"s{seed}", np.where(label > 0, body, -1000), (1, 1, 1), label)
    low, high, mean, sd = make_plan(find_cases(tmp_path), MAP, Config()).window
    assert AIR > -1000
    assert low == pytest.approx(50.5, abs=1.5)  # 0.5 and 99.5 percent of uniform values between 50 and 150
    assert high == pytest.approx(149.5, abs=1.5)
    assert mean == pytest.approx(100, abs=4)
    assert sd == pytest.approx(100 / np.sqrt(12), abs=3)


def test_ct_without_labels_has_a_window_of_soft_tissue(tmp_path: Path) -> None:
    study(tmp_path, "a", volume(0, low=-1000, high=400), (1, 1, 1))
    plan = make_plan(find_cases(tmp_path), MAP, Config())
    assert plan.modality == "ct"
    low, high, mean, _ = plan.window
    assert low < mean < high


def test_a_broken_study_does_not_count_and_only_broken_ones_are_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_bytes(b"broken")
    with pytest.raises(NotReadyError, match="Not one study"):
        make_plan(find_cases(tmp_path), MAP, Config())
    study(tmp_path, "b", volume(0), (1, 2, 3))
    assert make_plan(find_cases(tmp_path), MAP, Config()).spacing == (1, 2, 3)


def test_a_label_that_cannot_be_used_does_not_hide_its_image(tmp_path: Path) -> None:
    study(tmp_path, "a", volume(0, low=-1000, high=0), (1, 1, 1), np.full((3, 3, 3), 9))
    assert make_plan(find_cases(tmp_path), MAP, Config()).modality == "ct"


@pytest.mark.parametrize("shape", [(96, 71, 44), (512, 512, 30), (7, 9, 1), (300, 300, 300), (30, 30, 500)])
@pytest.mark.parametrize("voxels", [4096, 56 * 56 * 40, 112 * 112 * 80])
def test_a_patch_has_edges_in_steps_fits_the_memory_and_wastes_little_of_it(
    shape: tuple[int, ...], voxels: int
) -> None:
    patch = np.array(patch_size(np.array(shape), voxels))
    covering = np.ceil(np.array(shape) / STEP) * STEP
    assert (patch % STEP == 0).all()
    assert (patch <= covering).all()
    assert patch.prod() <= voxels
    if (patch < covering).any():  # the next larger patch of the same proportions would not fit
        assert np.minimum(patch + STEP, covering).prod() > voxels


def test_a_plan_survives_its_stored_form_and_its_key_names_what_changes_volumes() -> None:
    plan = Plan((1.0, 1.0, 2.5), "ct", (32, 32, 16), (-100.0, 200.0, 40.0, 50.0))
    assert Plan.from_dict(plan.to_dict()) == plan
    assert Plan(plan.spacing, plan.modality, (8, 8, 8), plan.window).key == plan.key
    assert Plan((1.0, 1.0, 2.0), plan.modality, plan.patch, plan.window).key != plan.key
    assert Plan(plan.spacing, plan.modality, plan.patch, (-100.0, 200.0, 40.0, 51.0)).key != plan.key


def test_cases_without_files_are_no_plan() -> None:
    with pytest.raises(NotReadyError):
        make_plan([Case("gone", Path("gone.nii"))], MAP, Config())
