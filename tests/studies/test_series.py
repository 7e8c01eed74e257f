"""The series of a patient on one grid, each as it is alone."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lib.errors import StudyError
from lib.studies.cases import Case
from lib.studies.modalities import project_cases
from lib.studies.phantom_patients import write_patients
from lib.studies.plan import Plan
from lib.studies.preprocess import Preprocess
from lib.studies.series import network_affine, read_case

WINDOW = (-100.0, 200.0, 50.0, 40.0)
PLAN = Plan(
    (2.5, 3.0, 4.0), "ct", (16, 16, 8), WINDOW, modalities=("ct", "pet", "mr"), schemes=("ct", "mr", "mr"),
    windows=(WINDOW, (), ()),
)  # fmt: skip
TWO = Plan(
    (3.0, 3.0, 5.0), "ct", (16, 16, 8), WINDOW, modalities=("ct", "mr"), schemes=("ct", "mr"), windows=(WINDOW, ())
)


def landmark(path: Path, place: tuple[float, float, float], affine: np.ndarray, shape: tuple[int, int, int]) -> None:
    """A smooth ball of 7 mm around a place in mm."""
    index = np.stack([*np.meshgrid(*map(np.arange, shape), indexing="ij"), np.ones(shape)])
    distance = np.linalg.norm(np.tensordot(affine, index, 1)[:3] - np.reshape(place, (3, 1, 1, 1)), axis=0)
    nib.save(nib.Nifti1Image((100 * np.exp(-((distance / 7) ** 2))).astype(np.float32), affine), path)


def centre(volume: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Centre of mass above the lowest value, mm."""
    weights = volume - volume.min()
    weights[weights < 0.2 * weights.max()] = 0
    index = np.stack(np.meshgrid(*map(np.arange, volume.shape), indexing="ij"))
    return affine[:3, :3] @ ((index * weights).sum((1, 2, 3)) / weights.sum()) + affine[:3, 3]


def test_a_landmark_is_at_its_place_in_every_modality(tmp_path: Path) -> None:
    place = (10.0, -20.0, 30.0)
    left = np.array([[-1.5, 0.2, 0, 50], [0.2, 1.5, 0, -60], [0, 0, 3, -10], [0, 0, 0, 1.0]])
    sagittal = np.array([[0, 0, 3.2, -30], [2, 0, 0, -70], [0, 2, 0, -20], [0, 0, 0, 1.0]])
    plain = np.array([[2, 0, 0, -40], [0, 2, 0, -70], [0, 0, 4, -15], [0, 0, 0, 1.0]])
    landmark(tmp_path / "a_ct.nii.gz", place, plain, (50, 50, 25))
    landmark(tmp_path / "a_pet.nii.gz", place, left, (55, 60, 28))
    landmark(tmp_path / "a_mr.nii.gz", place, sagittal, (50, 50, 26))
    plan = Plan((2.0, 2.5, 3.0), "mr", (16, 16, 8), modalities=PLAN.modalities, schemes=("mr",) * 3, windows=((),) * 3)
    stack, geometry, present = read_case(project_cases(tmp_path, PLAN.modalities)[0], Preprocess(plan))
    assert present == (True, True, True)
    assert stack.dtype == np.float32
    for volume in stack:
        np.testing.assert_allclose(centre(volume, network_affine(geometry)), place, atol=0.3)


def test_each_series_is_normalised_as_it_is_alone(tmp_path: Path) -> None:
    write_patients(tmp_path, 1, 1, PLAN.modalities, one_grid=True)
    case, preprocess = project_cases(tmp_path, PLAN.modalities)[0], Preprocess(PLAN)
    stack, geometry, _ = read_case(case, preprocess)
    for place, name in enumerate(PLAN.modality_names):
        alone, own = preprocess.image(case.modalities[name], place)
        np.testing.assert_array_equal(stack[place], alone[0])
        assert own.size == geometry.size
    low, high, mean, sd = WINDOW
    assert stack[0].min() == pytest.approx((low - mean) / sd)
    assert stack[0].max() <= (high - mean) / sd
    body = stack[2][stack[2] > stack[2].min()]
    assert abs(body.mean()) < 0.2
    assert body.std() == pytest.approx(1, abs=0.2)


def test_a_missing_modality_is_zero(tmp_path: Path) -> None:
    write_patients(tmp_path, 2, 1, PLAN.modalities, missing={0: ["pet"]})
    case = project_cases(tmp_path, PLAN.modalities)[0]
    stack, _, present = read_case(case, Preprocess(PLAN))
    assert present == (True, False, True)
    assert not stack[1].any()
    assert stack[0].any()
    assert stack[2].any()


def test_the_grid_is_that_of_the_labelled_series(tmp_path: Path) -> None:
    write_patients(tmp_path, 1, 1, ("mr", "ct"))
    case = project_cases(tmp_path, ("ct", "mr"))[0]
    _, geometry, _ = read_case(case, Preprocess(TWO))
    assert case.image.name == "patient_000_mr.nii.gz"
    np.testing.assert_allclose(geometry.affine, nib.load(case.image).affine)


def test_series_that_do_not_overlap_are_named(tmp_path: Path) -> None:
    write_patients(tmp_path, 1, 1)
    stray = nib.load(tmp_path / "patient_000_mr.nii.gz")
    affine = stray.affine.copy()
    affine[0, 3] += 60  # of 72 mm
    nib.save(nib.Nifti1Image(stray.get_fdata().astype(np.float32), affine), tmp_path / "patient_000_mr.nii.gz")
    case = project_cases(tmp_path, ("ct", "mr"))[0]
    with pytest.raises(StudyError, match=r"000_mr.nii.gz and patient_000_ct.nii.gz have 1\d% .* another patient"):
        read_case(case, Preprocess(TWO))


def test_an_ordinary_study_is_what_the_pipeline_gives(tmp_path: Path) -> None:
    write_patients(tmp_path, 1, 1)
    file = tmp_path / "patient_000_mr.nii.gz"
    preprocess = Preprocess(Plan((3.0, 3.0, 5.0), "mr", (16, 16, 8)))
    volume, _, present = read_case(Case("patient_000_mr", file), preprocess)
    np.testing.assert_array_equal(volume, preprocess.image(file)[0])
    assert present == (True,)
