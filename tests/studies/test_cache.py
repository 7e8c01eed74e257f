"""Preprocessed once, made anew when what it was made from changes, and never more than the budget."""

from __future__ import annotations

import dataclasses
import logging
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lib.errors import StudyError
from lib.studies.cache import VolumeCache
from lib.studies.cases import Case, find_cases
from lib.studies.labels import LabelMap, read_label
from lib.studies.phantoms import LABELS
from lib.studies.plan import Plan
from lib.studies.preprocess import Preprocess

MAP = LabelMap({value: name for name, value in LABELS.items()})
PLAN = Plan((2.0, 2.0, 3.0), "mr", (16, 16, 16))


class Counting(Preprocess):
    """Remembers what it was asked to read."""

    def __init__(self, plan: Plan = PLAN) -> None:
        super().__init__(plan)
        self.read: list[str] = []

    def image(self, path: Path | str) -> tuple:
        self.read.append(Path(path).name.removesuffix(".nii.gz"))
        return super().image(path)


def cache_in(folder: Path, plan: Plan = PLAN, labels: LabelMap = MAP, budget: float = 1e9) -> VolumeCache:
    return VolumeCache(folder, Counting(plan), labels, budget)


def reads(cache: VolumeCache) -> list[str]:
    assert isinstance(cache.preprocess, Counting)
    return cache.preprocess.read


def bytes_in(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def touch_later(path: Path) -> None:
    """As if the file had been written anew with the same number of bytes."""
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))


def test_a_labelled_case_is_its_preprocessed_image_and_label(studies: Path, tmp_path: Path) -> None:
    case = find_cases(studies)[0]
    volume = cache_in(tmp_path / "cache").get(case)
    image, geometry = Preprocess(PLAN).image(case.image)
    label = Preprocess(PLAN).label(read_label(case, MAP, geometry.shape, geometry.affine), geometry)
    np.testing.assert_allclose(volume.image, image, atol=2e-3)  # stored as float16
    np.testing.assert_array_equal(volume.label, label)
    assert volume.geometry.to_dict() == geometry.to_dict()
    assert isinstance(volume.image, np.memmap)


def test_places_are_voxels_of_their_class_spread_over_it(studies: Path, tmp_path: Path) -> None:
    volume = cache_in(tmp_path / "cache").get(find_cases(studies)[0])
    assert volume.label is not None
    assert set(volume.places) == {1, 2}
    for index, places in volume.places.items():
        assert (volume.label[tuple(places.T)] == index).all()
        there = np.argwhere(volume.label == index)
        assert len(places) == min(4096, len(there))
        assert (places.min(0)[0], places.max(0)[0]) == (there.min(0)[0], there.max(0)[0])


def test_an_unlabelled_and_an_empty_case_have_no_places(studies: Path, tmp_path: Path) -> None:
    cases = find_cases(studies)
    empty = cases[0]
    assert empty.label is not None
    stored = nib.load(empty.label)
    nib.save(nib.Nifti1Image(np.zeros(stored.shape, np.uint8), stored.affine), empty.label)
    cache = cache_in(tmp_path / "cache")
    assert cache.get(cases[-1]).label is None
    assert cache.get(cases[-1]).places == cache.get(empty).places == {}
    label = cache.get(empty).label
    assert label is not None
    assert not label.any()


def test_a_case_is_preprocessed_once_also_for_later_processes(studies: Path, tmp_path: Path) -> None:
    case = find_cases(studies)[0]
    first, second = cache_in(tmp_path / "cache"), cache_in(tmp_path / "cache")
    assert first.get(case) is first.get(case)
    second.get(case)
    assert (reads(first), reads(second)) == ([case.id], [])
    assert np.array_equal(first.get(case).image, second.get(case).image)


@pytest.mark.parametrize("change", ["image", "label", "values", "new label", "spacing", "modality", "classes"])
def test_a_change_of_study_or_setting_makes_a_new_entry(studies: Path, tmp_path: Path, change: str) -> None:
    case = find_cases(studies)[0]
    assert case.label is not None
    plan, labels = PLAN, MAP
    before = dataclasses.replace(case, label=None) if change == "new label" else case
    cache_in(tmp_path / "cache").get(before)
    if change in ("image", "label"):
        touch_later(case.image if change == "image" else case.label)
    elif change == "values":
        case = dataclasses.replace(case, values={1: "lesion", 2: "organ"})
    elif change == "spacing":
        plan = dataclasses.replace(PLAN, spacing=(2.0, 2.0, 4.0))
    elif change == "modality":
        plan = dataclasses.replace(PLAN, modality="ct", window=(0.0, 1.0, 0.5, 0.2))
    elif change == "classes":
        labels = LabelMap({1: "organ", 2: "lesion", 3: "vessel"})
    cache = cache_in(tmp_path / "cache", plan, labels)
    cache.get(case)
    assert reads(cache) == [case.id]


def test_a_change_that_concerns_no_voxel_keeps_the_entry(studies: Path, tmp_path: Path) -> None:
    case = find_cases(studies)[0]
    cache_in(tmp_path / "cache").get(case)
    cache = cache_in(tmp_path / "cache", dataclasses.replace(PLAN, patch=(8, 8, 8)))
    cache.get(case.on("validation"))
    assert reads(cache) == []


def test_a_running_process_sees_a_changed_label_too(studies: Path, tmp_path: Path) -> None:
    case = find_cases(studies)[0]
    assert case.label is not None
    cache = cache_in(tmp_path / "cache")
    assert len(cache.get(case).places) == 2
    stored = nib.load(case.label)
    nib.save(nib.Nifti1Image((np.asarray(stored.dataobj) == 1).astype(np.uint8), stored.affine), case.label)
    touch_later(case.label)
    assert set(cache.get(case).places) == {1}


def test_the_budget_holds_and_the_least_recently_used_goes(studies: Path, tmp_path: Path) -> None:
    cases = find_cases(studies)[3:]
    folder = tmp_path / "cache"
    cache_in(folder).get(cases[0])
    one = bytes_in(folder)
    cache_in(folder).get(cases[1])
    for entry, age in zip(sorted(folder.iterdir(), key=lambda entry: entry.stat().st_mtime_ns), (20, 10), strict=True):
        os.utime(entry, (1e9 - age, 1e9 - age))
    cache_in(folder).get(cases[0])  # used again: now the second is the oldest
    cache_in(folder, budget=2.5 * one).get(cases[2])
    assert bytes_in(folder) <= 2.5 * one
    later = cache_in(folder)
    for case in (cases[0], cases[2], cases[1]):
        later.get(case)
    assert reads(later) == [cases[1].id]


def test_one_volume_is_kept_however_small_the_budget(studies: Path, tmp_path: Path) -> None:
    cache = cache_in(tmp_path / "cache", budget=1)
    for case in find_cases(studies)[:3]:
        assert cache.get(case).image.size
        assert len(list((tmp_path / "cache").iterdir())) == 1


def test_a_volume_in_use_outlives_its_eviction(studies: Path, tmp_path: Path) -> None:
    cases = find_cases(studies)
    cache = cache_in(tmp_path / "cache", budget=1)
    volume = cache.get(cases[0])
    before = np.array(volume.image)
    cache.get(cases[1])
    assert np.array_equal(volume.image, before)


def test_nothing_but_whole_entries_is_left_behind(studies: Path, tmp_path: Path) -> None:
    cases = find_cases(studies)
    cases[1].image.write_bytes(b"broken")
    cache = cache_in(tmp_path / "cache")
    cache.get(cases[0])
    with pytest.raises(StudyError, match=cases[1].id):
        cache.get(cases[1])
    (entry,) = (tmp_path / "cache").iterdir()
    assert {file.name for file in entry.iterdir()} == {"image.npy", "label.npy", "places.npz", "geometry.json"}


def test_a_damaged_entry_is_made_again(studies: Path, tmp_path: Path) -> None:
    case = find_cases(studies)[0]
    cache_in(tmp_path / "cache").get(case)
    (entry,) = (tmp_path / "cache").iterdir()
    (entry / "image.npy").write_bytes((entry / "image.npy").read_bytes()[:200])  # a power cut, a full disk
    cache = cache_in(tmp_path / "cache")
    assert np.isfinite(cache.get(case).image).all()
    assert reads(cache) == [case.id]


def test_a_bad_study_is_its_own_error_and_tried_again_when_mended(
    studies: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cases = find_cases(studies)
    cache = cache_in(tmp_path / "cache")
    whole = cases[0].image.read_bytes()
    cases[0].image.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StudyError, match=cases[0].id):
        cache.get(cases[0])
    cases[0].image.write_bytes(whole)
    assert cache.get(cases[0]).image.size
    with pytest.raises(StudyError, match="gone"):
        cache.get(Case("gone", tmp_path / "gone.nii.gz"))
    with caplog.at_level(logging.WARNING):
        stored = nib.load(cases[1].image)
        holed = np.asarray(stored.dataobj, np.float32)
        holed[:2] = np.nan
        nib.save(nib.Nifti1Image(holed, stored.affine), cases[1].image)
        assert np.isfinite(cache.get(cases[1]).image).all()
    assert cases[1].id in caplog.text
    assert cache.get(cases[1]).geometry.notes


def test_what_was_fetched_and_preprocessed_is_not_fetched_again(studies: Path, tmp_path: Path) -> None:
    fetched: list[str] = []
    case = dataclasses.replace(find_cases(studies)[0], fetch=lambda: fetched.append("it"), version="first")
    first = cache_in(tmp_path / "cache").get(case)
    assert fetched == ["it"]
    case.image.unlink()  # the mirror of a server has a budget too
    again = cache_in(tmp_path / "cache")
    assert np.array_equal(again.get(case).image, first.image)
    assert (fetched, reads(again)) == (["it"], [])
    with pytest.raises(StudyError):
        again.get(dataclasses.replace(case, version="second"))
