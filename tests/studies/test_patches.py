"""Both streams are pure functions of seed and step, foreground is met, and every unlabelled study gets its turn."""

from __future__ import annotations

import dataclasses
from collections import Counter
from itertools import pairwise
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from lib.errors import SemisegError
from lib.studies.cache import Volume, VolumeCache
from lib.studies.cases import Case, find_cases
from lib.studies.labels import LabelMap
from lib.studies.patches import Batch, Patches, Recipe
from lib.studies.phantoms import LABELS
from lib.studies.plan import Plan
from lib.studies.preprocess import Geometry, Preprocess
from lib.studies.rotation import Rotation, in_turns

PATCH = (16, 16, 8)
SPACING = (2.0, 2.0, 3.0)
MAP = LabelMap({value: name for name, value in LABELS.items()})


def recipe(
    labelled: int = 2, unlabelled: int = 2, foreground: float = 0.5, strong_views: int = 1, seed: int = 0
) -> Recipe:
    return Recipe(PATCH, labelled, unlabelled, foreground, strong_views, seed)


def patches(
    studies: Path, folder: Path, what: Recipe | None = None, rank: int = 0, world: int = 1, capacity: int = 3
) -> Patches:
    cases = find_cases(studies)
    cache = VolumeCache(folder, Preprocess(Plan(SPACING, "mr", PATCH)), MAP, 1e9)
    rotation = Rotation([case for case in cases if not case.label], capacity, 200, 0)
    return Patches(cache, [case for case in cases if case.label], rotation, what or recipe(), rank, world)


def equal(one: Batch, other: Batch) -> bool:
    return all(
        torch.equal(one[key], other[key]) if torch.is_tensor(one[key]) else one[key] == other[key] for key in one
    )


def test_a_batch_has_the_promised_shapes(phantom_studies: Path, tmp_path: Path) -> None:
    batch = patches(phantom_studies, tmp_path, recipe(labelled=3, unlabelled=2, strong_views=2))[0]
    assert batch["image"].shape == (3, 1, *PATCH)
    assert batch["label"].shape == (3, 1, *PATCH)
    assert batch["weak"].shape == (2, 1, *PATCH)
    assert batch["strong"].shape == (2, 2, 1, *PATCH)
    assert batch["mix"].shape == (2, 1, *PATCH)
    assert batch["label"].dtype == torch.int64
    assert batch["mix"].dtype == torch.bool
    assert all(batch[key].dtype == torch.float32 for key in ("image", "weak", "strong"))
    assert set(batch["label"].unique().tolist()) <= {0, 1, 2}
    assert (len(batch["ids"]), len(batch["unlabelled_ids"])) == (3, 2)


def test_without_unlabelled_studies_or_views_there_is_one_stream(phantom_studies: Path, tmp_path: Path) -> None:
    whole = patches(phantom_studies, tmp_path)
    alone = Patches(whole.cache, whole.labelled, None, recipe())
    supervised = patches(phantom_studies, tmp_path, recipe(strong_views=0))
    for batch in (alone[3], supervised[3]):
        assert set(batch) == {"image", "label", "ids", "skipped"}
        assert torch.equal(batch["image"], whole[3]["image"])  # the labelled stream does not depend on the other


def test_a_batch_is_a_pure_function_of_seed_and_step(phantom_studies: Path, tmp_path: Path) -> None:
    one = patches(phantom_studies, tmp_path / "a")
    in_order = [one[step] for step in range(6)]
    other = patches(phantom_studies, tmp_path / "b")
    for step in (5, 0, 3):  # in any order, from another cache
        assert equal(in_order[step], other[step])
    assert not equal(in_order[0], in_order[1])
    assert not equal(in_order[0], patches(phantom_studies, tmp_path / "a", recipe(seed=1))[0])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_resumed_stream_goes_on_where_the_other_was_cut(phantom_studies: Path, tmp_path: Path, workers: int) -> None:
    source = patches(phantom_studies, tmp_path)
    batches = list(source.stream(2, 5, workers))
    assert len(batches) == 3
    assert all(equal(batch, source[step]) for step, batch in enumerate(batches, 2))


@pytest.mark.parametrize("rows", [2, 4])
def test_two_processes_draw_what_one_of_the_doubled_batch_does(
    phantom_studies: Path, tmp_path: Path, rows: int
) -> None:
    one = patches(phantom_studies, tmp_path, recipe(2 * rows, 2 * rows))
    two = [patches(phantom_studies, tmp_path, recipe(rows, rows), rank, world=2) for rank in (0, 1)]
    for step in (0, 7):
        whole, halves = one[step], [half[step] for half in two]
        for key in ("image", "label", "weak", "mix"):
            assert torch.equal(whole[key], torch.cat([half[key] for half in halves])), key
        assert torch.equal(whole["strong"], torch.cat([half["strong"] for half in halves], dim=1))
        for key in ("ids", "unlabelled_ids"):
            assert whole[key] == halves[0][key] + halves[1][key]


def test_labels_lie_on_their_images_after_pose_and_padding(tmp_path: Path) -> None:
    """Each class has an intensity of its own; the appearance changes these levels, but never their order."""
    label = np.zeros((40, 40, 28), np.uint8)
    label[20:, :, :14], label[:, 25:, :14] = 1, 2
    image = np.array([500, 1000, 2000], np.float32)[label]
    image[0, 0, 0] = 0
    source = patches(one_study(tmp_path, image, label), tmp_path / "cache", recipe(labelled=24, strong_views=0))
    batch = source[0]
    for patch, classes in zip(batch["image"], batch["label"], strict=True):
        means = [float(patch[classes == index].mean()) for index in range(3) if (classes == index).any()]
        assert means == sorted(means)


def one_study(folder: Path, image: np.ndarray, label: np.ndarray) -> Path:
    """A folder with this study, labelled, and a second one without a label."""
    studies, affine = folder / "studies", np.diag([*SPACING, 1.0])
    (studies / "labels" / "final").mkdir(parents=True)
    nib.save(nib.Nifti1Image(label, affine), studies / "labels" / "final" / "a.nii.gz")
    for name in ("a", "b"):
        nib.save(nib.Nifti1Image(image, affine), studies / f"{name}.nii.gz")
    return studies


def test_foreground_patches_hold_a_labelled_voxel_in_their_middle(phantom_studies: Path, tmp_path: Path) -> None:
    always = patches(phantom_studies, tmp_path, recipe(labelled=6, foreground=1.0, strong_views=0))
    never = patches(phantom_studies, tmp_path, recipe(labelled=6, foreground=0.0, strong_views=0))
    shares = []
    for source in (always, never):
        labels = torch.cat([source[step]["label"] for step in range(10)])
        shares.append((labels > 0).flatten(1).any(1).float().mean().item())
        if source is always:
            classes = [(labels == index).flatten(1).any(1).float().mean().item() for index in (1, 2)]
    assert shares[0] == 1.0
    assert shares[1] < 0.95
    assert min(classes) > 0.4  # each class is the centre of half of them, however small


def test_the_labelled_voxel_lies_about_the_middle_turned_or_not(tmp_path: Path) -> None:
    label = np.zeros((60, 60, 40), np.uint8)
    label[29:32, 29:32, 19:22] = 1
    studies, what = one_study(tmp_path, label + 1.0, label), recipe(20, foreground=1.0, strong_views=0)
    source = patches(studies, tmp_path, what)
    found = [patch.nonzero()[:, 1:].float().mean(0) for step in range(8) for patch in source[step]["label"]]
    middle = (torch.tensor(PATCH) - 1) / 2
    assert (torch.stack(found).mean(0) - middle).abs().max() < 0.6  # sd of the mean: 0.2
    other = patches(studies, tmp_path, dataclasses.replace(what, seed=1))
    assert not torch.equal(source[0]["label"], other[0]["label"])  # another seed, other patches of the same study


def test_labelled_studies_are_used_equally_often(phantom_studies: Path, tmp_path: Path) -> None:
    source = patches(phantom_studies, tmp_path, recipe(strong_views=0))
    uses = Counter(study for step in range(9) for study in source[step]["ids"])
    assert set(uses.values()) == {6}


@pytest.mark.parametrize("shape", [(10, 9, 5), (40, 30, 1), (1, 1, 1), PATCH])
def test_beyond_a_small_volume_its_edge_goes_on(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    image = np.random.default_rng(0).uniform(0, 100, shape).astype(np.float32)
    source = patches(one_study(tmp_path, image, np.ones(shape, np.uint8)), tmp_path / "cache")
    for batch in (source[step] for step in range(8)):
        assert all(torch.isfinite(batch[key]).all() for key in ("image", "weak", "strong"))
        assert (batch["label"] == 1).all()


@pytest.mark.parametrize("shape", [(10, 9, 5), (1, 1, 1), PATCH])
def test_a_study_smaller_than_the_patch_lies_in_its_middle(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    image = np.random.default_rng(0).uniform(0, 100, shape).astype(np.float32)
    source = patches(one_study(tmp_path, image, np.ones(shape, np.uint8)), tmp_path / "cache")
    volume = torch.from_numpy(np.asarray(source.cache.get(source.labelled[0]).image, np.float32))
    middle = tuple(slice((edge - n) // 2, (edge - n) // 2 + n) for edge, n in zip(PATCH, shape, strict=True))
    views = [view[(slice(None), *middle)] for step in range(8) for view in source[step]["weak"]]
    assert any(torch.equal(view, volume) for view in views)  # about half of the views are not turned


def test_an_empty_label_is_trained_on_as_background(studies: Path, tmp_path: Path) -> None:
    for case in find_cases(studies)[:3]:
        assert case.label is not None
        stored = nib.load(case.label)
        nib.save(nib.Nifti1Image(np.zeros(stored.shape, np.uint8), stored.affine), case.label)
    assert not patches(studies, tmp_path, recipe(foreground=1.0))[0]["label"].any()


@pytest.mark.parametrize("capacity", [3, 1])
def test_an_unlabelled_study_that_breaks_gives_its_turn_to_another(
    studies: Path, tmp_path: Path, capacity: int
) -> None:
    broken, *others = (case.id for case in find_cases(studies) if not case.label)
    (studies / f"{broken}.nii.gz").write_bytes(b"broken")
    source = patches(studies, tmp_path, capacity=capacity)
    assert {study for step in range(100) for study in source[step]["unlabelled_ids"]} == set(others)
    assert broken in source[99]["skipped"][broken]


def test_without_a_readable_unlabelled_study_the_labelled_stream_goes_on(studies: Path, tmp_path: Path) -> None:
    unlabelled = [case for case in find_cases(studies) if not case.label]
    for case in unlabelled:
        case.image.write_bytes(b"broken")
    batch = patches(studies, tmp_path)[0]
    assert "weak" not in batch
    assert set(batch["skipped"]) == {case.id for case in unlabelled}


def test_without_a_readable_labelled_study_there_is_a_sentence(studies: Path, tmp_path: Path) -> None:
    for case in find_cases(studies):
        if case.label:
            case.label.write_bytes(b"broken")
    with pytest.raises(SemisegError, match="can be read"):
        patches(studies, tmp_path)[0]


def named(count: int) -> list[Case]:
    return [Case(f"{number:03d}", Path(f"{number:03d}.nii")) for number in range(count)]


def test_in_turns_gives_each_its_turn_before_any_comes_again() -> None:
    turns = [tuple(in_turns(turn * 7 + place, 7, 3) for place in range(7)) for turn in range(20)]
    assert all(sorted(turn) == list(range(7)) for turn in turns)
    assert len(set(turns)) > 1


@pytest.mark.parametrize(("count", "capacity", "total"), [(12, 4, 60), (12, 1, 60), (50, 7, 50), (5, 5, 9), (3, 9, 9)])
def test_over_a_training_every_study_is_at_hand_alike(count: int, capacity: int, total: int) -> None:
    rotation = Rotation(named(count), capacity, total, seed=1)
    seen = Counter(case.id for step in range(total) for case in rotation.window(step))
    assert set(seen) == {case.id for case in named(count)}
    expected = total * min(capacity, count) / count
    assert all(abs(times - expected) <= min(capacity, count) * (total / count) / 2 + 1 for times in seen.values())
    windows = [{case.id for case in rotation.window(step)} for step in range(total)]
    assert {len(window) for window in windows} == {min(capacity, count)}
    assert sum(len(after - before) for before, after in pairwise(windows)) <= count  # each is preprocessed about once


@pytest.mark.parametrize(("count", "capacity", "total"), [(60, 10, 120), (60, 1, 60), (40, 40, 20), (200, 30, 200)])
def test_over_a_training_every_study_is_drawn(count: int, capacity: int, total: int) -> None:
    """Whenever there are at least as many draws (two a step) as studies."""
    tiny, cases = Recipe((8, 8, 8), labelled=1, unlabelled=2, foreground=0.0, strong_views=1, seed=0), named(count)
    source = Patches(OneVolume(), named(1), Rotation(cases, capacity, 2 * total, seed=0), tiny)
    drawn = {study for step in range(total) for study in source[step]["unlabelled_ids"]}
    assert drawn == {case.id for case in cases}


@pytest.mark.parametrize(("count", "capacity", "draws"), [(300, 40, 300), (300, 40, 600), (200, 20, 1000)])
def test_a_study_is_drawn_at_the_latest_when_it_leaves(count: int, capacity: int, draws: int) -> None:
    """Turns within a moving window alone would leave some out."""
    rotation = Rotation(named(count), capacity, draws, seed=0)
    assert {rotation.preferred(draw)[0].id for draw in range(draws)} == {case.id for case in named(count)}
    for draw in range(draws):
        order = rotation.preferred(draw)
        assert {case.id for case in order[: rotation.capacity]} == {case.id for case in rotation.window(draw)}
        assert len({case.id for case in order}) == count  # whoever cannot be read, somebody takes the turn


class OneVolume(VolumeCache):
    """Any case is the same few voxels: for tests of who is drawn, not of what."""

    def __init__(self) -> None:
        zeros = np.zeros((8, 8, 8), np.float32)
        turn = np.array([[0, 1], [1, 1], [2, 1]])
        self.volume = Volume(
            zeros[None], zeros, {}, Geometry(zeros.shape, np.eye(4), turn, zeros.shape, (1.0, 1.0, 1.0))
        )

    def get(self, case: Case) -> Volume:
        return self.volume
