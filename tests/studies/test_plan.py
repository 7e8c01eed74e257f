"""The plan is what the studies suggest: median spacing and shape, CT by its air, and the window of the foreground."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lib.config import Config
from lib.errors import ConfigError, NotReadyError
from lib.studies.cases import Case, find_cases
from lib.studies.labels import LabelMap
from lib.studies.phantom_pictures import write_pictures
from lib.studies.plan import AIR, SLICE_PIXELS, STEP, Plan, batch_size, make_plan, patch_size

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


@pytest.mark.parametrize(
    ("spacing", "dimension", "axis"),
    [
        ((1.0, 1.0, 4.0), 3, None),
        ((1.5, 1.5, 10.0), 2, 2),
        ((10.0, 1.5, 1.5), 2, 0),
        ((1.0, 4.5, 1.0), 2, 1),
        ((0.5, 2.4, 2.5), 2, 2),  # of equally thick axes the last
    ],
)
def test_slices_thicker_than_four_pixels_have_2d_networks(
    tmp_path: Path, spacing: tuple[float, ...], dimension: int, axis: int | None
) -> None:
    for name in "ab":
        study(tmp_path, name, volume(0, (20, 22, 24)), spacing)
    plan = make_plan(find_cases(tmp_path), MAP, Config())
    assert (plan.dimension, plan.flat_axis) == (dimension, axis)
    assert len(plan.network_patch) == dimension
    if axis is not None:
        assert plan.patch[axis] == 1
        assert plan.network_patch == tuple(edge for place, edge in enumerate(plan.patch) if place != axis)
        assert all(edge % 16 == 0 for edge in plan.network_patch)
        with_3d = make_plan(find_cases(tmp_path), MAP, Config(dimension="3"))
        assert (with_3d.dimension, with_3d.network_patch) == (3, with_3d.patch)


def test_a_plan_of_slices_takes_numbers_of_the_plane_or_of_all_axes(tmp_path: Path) -> None:
    study(tmp_path, "a", volume(0), (9, 1, 1.5))
    cases = find_cases(tmp_path)
    two = make_plan(cases, MAP, Config(spacing=(2, 3), patch=(32, 48)))
    three = make_plan(cases, MAP, Config(spacing=(9, 2, 3), patch=(8, 32, 48)))
    assert two == three
    assert (two.spacing, two.patch, two.network_patch) == ((9, 2, 3), (1, 32, 48), (32, 48))
    for config in (Config(spacing=(2, 3)), Config(spacing=(5, 2, 3), patch=(8, 32, 48), dimension="2"), Config()):
        assert two.differences(config) == []
    other = Config(spacing=(2, 4), patch=(32, 32), modality="ct")
    assert two.differences(other) == ["spacing", "patch", "modality"]
    assert two.differences(Config(dimension="3")) == ["dimension"]
    study(tmp_path, "a", volume(0), (1, 1, 1.5))
    with pytest.raises(ConfigError, match=r"patch has two numbers.*3D"):
        make_plan(cases, MAP, Config(patch=(32, 48)))


def test_pictures_have_2d_networks_a_scheme_and_channels_of_their_own(tmp_path: Path) -> None:
    write_pictures(tmp_path / "grey", 3, 1, coloured=False)
    write_pictures(tmp_path / "mixed", 3, 1, coloured=False)
    write_pictures(tmp_path / "mixed", 1, 1, coloured=True)  # one picture in place of a grey one
    for name, channels in (("grey", 1), ("mixed", 3)):
        plan = make_plan(find_cases(tmp_path / name), MAP, Config())
        assert (plan.dimension, plan.slice_axis, plan.modality, plan.channels) == (2, 2, "picture", channels)
        assert (plan.spacing, plan.patch) == ((1.0, 1.0, 1.0), (64, 48, 1))
    with pytest.raises(ConfigError, match=r"pictures or single slices.*dimension 2"):
        make_plan(find_cases(tmp_path / "grey"), MAP, Config(dimension="3"))


def test_single_slices_are_learnt_from_in_their_plane(tmp_path: Path) -> None:
    study(tmp_path, "a", volume(0, (20, 1, 24)), (1, 1, 1))
    plan = make_plan(find_cases(tmp_path), MAP, Config())
    assert (plan.dimension, plan.slice_axis, plan.modality) == (2, 1, "mr")
    with pytest.raises(ConfigError, match="single slices"):
        make_plan(find_cases(tmp_path), MAP, Config(dimension="3"))


def test_the_plan_of_a_mixed_folder_is_that_of_the_more_frequent_kind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_pictures(tmp_path, 2, 0)
    for name in "abc":
        study(tmp_path, name, volume(0), (1, 1, 1))
    assert make_plan(find_cases(tmp_path), MAP, Config()).dimension == 3
    assert "volumes and pictures" in caplog.text


def test_as_many_slices_as_hold_the_voxels_of_two_patches() -> None:
    volumes = Plan((1.0, 1.0, 1.0), "mr", (56, 56, 40))
    assert [batch_size(given, volumes) for given in (0, 1, 5)] == [2, 1, 5]
    voxels = 2 * 56 * 56 * 40
    for edge in (16, 128, 160, 192, 224, 256, 512):
        plan = Plan((1.0, 1.0, 9.0), "mr", (edge, edge, 1), dimension=2)
        slices = batch_size(0, plan)
        assert slices in (2, 4, 6, 8)
        assert slices in (2, 8) or abs(slices - voxels / edge**2) <= 1
        assert batch_size(3, plan) == 3
    assert batch_size(0, Plan((1.0, 1.0, 9.0), "mr", (512, 512, 1), dimension=2), "cuda") == 8
    assert SLICE_PIXELS["cuda"] == 512 * 512


def test_a_plan_stored_before_there_were_2d_networks_is_one_of_3d_networks() -> None:
    old = {"spacing": [1.0, 1.0, 2.5], "modality": "mr", "patch": [32, 32, 16], "window": []}
    plan = Plan.from_dict(old)
    assert (plan.dimension, plan.flat_axis, plan.channels, plan.network_patch) == (3, None, 1, (32, 32, 16))
    flat = dataclasses.replace(plan, dimension=2, patch=(32, 32, 1))
    assert Plan.from_dict(flat.to_dict()) == flat
    keys = {plan.key, flat.key, dataclasses.replace(flat, slice_axis=0).key, dataclasses.replace(flat, channels=3).key}
    assert len(keys) == 4
