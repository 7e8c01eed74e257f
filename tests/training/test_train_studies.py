"""Which studies a training uses, counts, rotates through, skips with a sentence, and cannot do without."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from lib.errors import ConfigError, NotReadyError
from lib.studies.cache import VolumeCache
from lib.training import prepare


def test_each_study_is_counted_and_all_unlabelled_ones_have_their_turn(project: Any) -> None:
    uses = project.manifest(project.train(iterations=6))["uses"]
    assert {study: uses[study] for study in ("phantom_004", "phantom_005", "phantom_006")} == {
        "phantom_004": 4, "phantom_005": 4, "phantom_006": 4,
    }  # fmt: skip
    assert uses["phantom_000"] + uses["phantom_001"] == 12
    assert "phantom_002" not in uses  # validates


def test_when_the_cache_is_too_small_it_rotates_through_all_of_them(
    project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(7, 13):
        shutil.copy(project.image(4 + number % 3), project.image(number))
    labelled, one = (_bytes(project, numbers) for numbers in (range(4), [4]))
    budget = labelled + 3 * one
    assert budget < labelled + 9 * one
    seen = []
    make = VolumeCache._make

    def watched(cache: VolumeCache, *args: Any) -> None:
        make(cache, *args)
        seen.append(_size(cache.folder))

    monkeypatch.setattr(VolumeCache, "_make", watched)
    monkeypatch.setattr(
        prepare, "VolumeCache", lambda folder, plan, labels, _: VolumeCache(folder, plan, labels, budget)
    )
    manifest = project.manifest(project.train(iterations=27))
    unlabelled = [f"phantom_{number:03d}" for number in range(4, 13)]
    assert all(manifest["uses"][study] for study in unlabelled)
    assert sum(manifest["uses"][study] for study in unlabelled) == 2 * 27
    assert len(seen) >= 9
    assert max(seen) <= budget


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _bytes(project: Any, numbers: Any) -> int:
    """What these studies take in a cache."""
    cache = project.prepared(method="supervised").cache
    folder = project.folder.path / "measured"
    alone = VolumeCache(folder, cache.preprocess, cache.labels, 1e9)
    for number in numbers:
        alone.get(project.cases[number])
    size = _size(folder)
    shutil.rmtree(folder)
    return size


def test_without_a_labelled_study_there_is_one_clear_sentence(project: Any) -> None:
    shutil.rmtree(project.studies / "labels")
    with pytest.raises(NotReadyError, match="No study is labelled yet; submit at least one label"):
        project.train()
    assert project.manifest()["status"] == "failed"
    assert project.folder.live is None


def test_one_labelled_study_trains_and_says_that_nothing_judged_it(project: Any) -> None:
    for number in (1, 2, 3):
        project.label(number).unlink()
    result = project.train()
    assert (result.version, result.metric) == ("0001", None)
    assert "Too few labels for a validation set" in result.reason
    assert project.manifest(result)["cases"]["training"] == ["phantom_000"]


@pytest.mark.parametrize("method", ["supervised", "cross_pseudo"])
def test_without_unlabelled_studies_it_learns_from_the_labelled(project: Any, method: str) -> None:
    for number in (4, 5, 6):
        project.image(number).unlink()
    terms: set[str] = set()
    result = project.train(lambda now: terms.update(now.losses), method=method)
    assert result.version == "0001"
    assert terms == {"supervised", "loss"}
    warned = [
        f"no unlabelled studies: method {method}" in each for each in project.manifest(result).get("warnings", [])
    ]
    assert warned == ([] if method == "supervised" else [True])


def test_a_method_that_does_not_fit_the_modalities_is_refused_before_anything_is_read(project: Any) -> None:
    with pytest.raises(ConfigError, match=r"modalities names none; name them, .* or use method multiscale"):
        project.train(method="semi_cml")
    with pytest.raises(ConfigError, match="use method semi_cml, or name the one"):
        project.train(method="multiscale", modalities=("ct", "mr"))
    assert not project.folder.cache.exists()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_corrupt_unlabelled_study_is_named_and_the_training_goes_on(project: Any, workers: int) -> None:
    project.image(5).write_bytes(project.image(5).read_bytes()[:5000])
    project.image(6).unlink()
    project.image(6).mkdir()
    result = project.train(workers=workers)
    manifest = project.manifest(result)
    assert result.version == "0001"
    assert set(manifest["skipped"]) == {"phantom_005", "phantom_006"}
    assert "'phantom_005'" in manifest["skipped"]["phantom_005"]
    assert "folder" in manifest["skipped"]["phantom_006"]
    assert manifest["uses"]["phantom_004"] == 12
    assert "phantom_005" not in manifest["uses"]


@pytest.mark.parametrize("workers", [0, 1])
def test_when_every_unlabelled_study_is_corrupt_it_learns_from_the_labelled(project: Any, workers: int) -> None:
    for number in (4, 5, 6):
        project.image(number).write_bytes(b"no image")
    result = project.train(workers=workers)
    manifest = project.manifest(result)
    assert result.version == "0001"
    assert set(manifest["skipped"]) == {"phantom_004", "phantom_005", "phantom_006"}
    assert set(manifest["uses"]) == {"phantom_000", "phantom_001"}


def test_labels_that_cannot_be_meant_are_named_and_left_out(project: Any) -> None:
    affine = nib.load(project.label(1)).affine
    nib.save(nib.Nifti1Image(np.ones((8, 8, 8), np.uint8), affine), project.label(1))
    nib.save(nib.Nifti1Image(np.full((24, 24, 12), 9, np.uint8), nib.load(project.label(3)).affine), project.label(3))
    result = project.train()
    manifest = project.manifest(result)
    assert result.version == "0001"
    assert "(8, 8, 8)" in manifest["skipped"]["phantom_001"]
    assert "value 9" in manifest["skipped"]["phantom_003"]
    assert manifest["cases"]["training"] == ["phantom_000"]
    assert manifest["cases"]["validation"] == ["phantom_002"]


def test_when_no_label_can_be_used_the_sentence_says_why(project: Any) -> None:
    for number in range(4):
        project.label(number).write_bytes(b"no label")
    with pytest.raises(NotReadyError, match=r"None of the 4 labelled studies can be trained on\. Study 'phantom_00"):
        project.train()


def test_the_side_of_a_study_is_fixed_whatever_the_settings_say_later(project: Any) -> None:
    first = project.manifest(project.train(validation=0.5))["cases"]
    second = project.manifest(project.train(validation=0.0, seed=1))["cases"]
    assert {side: first[side] for side in ("training", "validation")} == {
        "training": ["phantom_000", "phantom_001"], "validation": ["phantom_002", "phantom_003"],
    }  # fmt: skip
    assert second == first
