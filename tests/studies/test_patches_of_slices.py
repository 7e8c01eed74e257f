"""Patches in dimension 2: single slices, whole and unmixed, from pictures and from stacks along any axis."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from lib.config import Config
from lib.studies.cache import VolumeCache
from lib.studies.cases import Case, find_cases
from lib.studies.labels import LabelMap
from lib.studies.patches import Patches, Recipe
from lib.studies.phantom_pictures import write_pictures
from lib.studies.phantoms import LABELS
from lib.studies.plan import Plan, make_plan
from lib.studies.preprocess import Preprocess
from lib.studies.rotation import Rotation

MAP = LabelMap({value: name for name, value in LABELS.items()})
SLICES = 5


def source(
    cases: list[Case], plan: Plan, folder: Path, foreground: float = 0.5, mirror: bool = False, rows: int = 6
) -> Patches:
    cache = VolumeCache(folder, Preprocess(plan), MAP, 1e9)
    rotation = Rotation([case for case in cases if not case.label], 9, 900, 0)
    recipe = Recipe(plan.patch, rows, rows, foreground, 2, 0, plan.flat_axis, mirror)
    return Patches(cache, [case for case in cases if case.label], rotation, recipe)


@pytest.mark.parametrize("coloured", [True, False])
def test_pictures_give_batches_without_a_third_axis(tmp_path: Path, coloured: bool) -> None:
    write_pictures(tmp_path / "studies", 4, 2, coloured=coloured)
    cases = find_cases(tmp_path / "studies")
    plan = make_plan(cases, MAP, Config(patch=(32, 16)))
    channels = 3 if coloured else 1
    batch = source(cases, plan, tmp_path / "cache", mirror=True)[0]
    assert batch["image"].shape == batch["weak"].shape == (6, channels, 32, 16)
    assert batch["label"].shape == batch["mix"].shape == (6, 1, 32, 16)
    assert batch["strong"].shape == (2, 6, channels, 32, 16)
    assert (batch["label"].dtype, batch["mix"].dtype) == (torch.int64, torch.bool)
    again = source(cases, plan, tmp_path / "elsewhere", mirror=True)[0]
    assert all(torch.equal(batch[key], again[key]) for key in ("image", "label", "weak", "strong", "mix"))


def stack(folder: Path, axis: int) -> list[Case]:
    """Studies whose slice i, along this axis, has the intensity 100 i; class 1 is on slice 3 alone."""
    (folder / "labels" / "final").mkdir(parents=True)
    shape = [40, 36, 32]
    shape[axis] = SLICES
    number = np.broadcast_to(np.arange(SLICES).reshape([-1 if place == axis else 1 for place in range(3)]), shape)
    label = np.zeros(shape, np.uint8)
    label[tuple(3 if place == axis else slice(10, 20) for place in range(3))] = 1
    spacing = [1.0, 1.0, 1.0]
    spacing[axis] = 8.0
    for name in "ab":
        nib.save(nib.Nifti1Image((100 * number).astype(np.float32), np.diag([*spacing, 1])), folder / f"{name}.nii.gz")
    nib.save(nib.Nifti1Image(label, np.diag([*spacing, 1])), folder / "labels" / "final" / "a.nii.gz")
    return find_cases(folder)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_patch_is_one_slice_of_the_stack_turned_or_not(tmp_path: Path, axis: int) -> None:
    cases = stack(tmp_path / "studies", axis)
    plan = make_plan(cases, MAP, Config(patch=(24, 16)))
    assert plan.flat_axis == axis
    plan = dataclasses.replace(plan, modality="ct", window=(-1e4, 1e4, 0.0, 100.0))
    patches = source(cases, plan, tmp_path / "cache", foreground=0.0)
    weak = torch.cat([patches[step]["weak"] for step in range(12)])
    assert weak.shape == (72, 1, 24, 16)
    assert (weak.flatten(1).max(1).values - weak.flatten(1).min(1).values).max() < 1e-3  # no slice mixed with another
    levels = set(weak.flatten(1)[:, 0].numpy().round(2).tolist())
    assert levels == set(range(SLICES))  # every slice of the study comes, the outermost too


@pytest.mark.parametrize("axis", [0, 2])
def test_foreground_patches_are_of_a_labelled_slice(tmp_path: Path, axis: int) -> None:
    cases = stack(tmp_path / "studies", axis)
    patches = source(cases, make_plan(cases, MAP, Config(patch=(16, 16))), tmp_path / "cache", foreground=1.0)
    for step in range(4):
        assert (patches[step]["label"] == 1).flatten(1).any(1).all()


def test_pictures_smaller_than_the_patch_and_of_other_sizes_go_on_at_their_edges(tmp_path: Path) -> None:
    for place, size in enumerate(((64, 48), (20, 9), (1, 1), (48, 64))):
        write_pictures(tmp_path / f"{place}", 3, 2, seed=place, size=size)
    plan = Plan((1.0, 1.0, 1.0), "picture", (32, 32, 1), dimension=2, channels=3)
    for place in range(4):
        batch = source(find_cases(tmp_path / f"{place}"), plan, tmp_path / "cache", mirror=True)[0]
        assert batch["image"].shape == (6, 3, 32, 32)
        assert torch.isfinite(batch["image"]).all()
