"""The labelled and the unlabelled stream of patches, each batch a pure function of (seed, step).

So a resumed training sees what an uninterrupted one would have seen, and a training on several processes what one
process would see with their batches joined: row r of step t is the same patch whoever draws it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lib.errors import SemisegError, StudyError
from lib.studies.cache import Volume, VolumeCache
from lib.studies.cases import Case
from lib.studies.plan import in_plane
from lib.studies.rotation import Rotation, in_turns
from lib.studies.views import Pose, apply_appearance, apply_pose, draw_appearance, draw_box, draw_pose, pose_grid, reach

LABELLED, UNLABELLED = 0, 1  # names of the two streams in the seeds
Batch = dict[str, Any]


@dataclass(frozen=True)
class Recipe:
    """What a batch holds.

    Attributes:
        patch: voxels, three numbers. labelled, unlabelled: rows of a batch and process; without labelled ones a batch
            has neither ``image`` nor ``label``.
        foreground: share of labelled patches around a labelled voxel.
        strong_views: strong views of each unlabelled patch beside the weak one.
        flat_axis: the axis along which patches are one voxel, and which they lose in the batch; None: they have three.
        mirror: patches are mirrored too.
    """

    patch: tuple[int, ...]
    labelled: int
    unlabelled: int
    foreground: float
    strong_views: int
    seed: int
    flat_axis: int | None = None
    mirror: bool = False

    @property
    def size(self) -> tuple[int, ...]:
        """Edges of a patch in the batch."""
        return in_plane(self.patch, self.flat_axis)


class Patches(Dataset):
    """Item ``step`` is a whole batch, of volumes as below or of slices, ``(B, C, H, W)``.

    ``image (B, C, X, Y, Z)``, ``label (B, 1, X, Y, Z)`` int64; and of the unlabelled stream, if there is one,
    ``weak (U, C, X, Y, Z)``, ``strong (V, U, C, X, Y, Z)``, ``mix (U, 1, X, Y, Z)`` bool; ``ids`` and
    ``unlabelled_ids`` name the cases, ``skipped`` those that could not be read (study -> sentence). Of M >= 2
    modalities C is M, and ``present (B, M)`` and ``unlabelled_present (U, M)`` bool say which a row has.
    """

    def __init__(
        self,
        cache: VolumeCache,
        labelled: Sequence[Case],
        unlabelled: Rotation | None,
        recipe: Recipe,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.cache, self.labelled, self.unlabelled, self.recipe = cache, list(labelled), unlabelled, recipe
        self.rank, self.world = rank, world
        self.broken: dict[str, str] = {}

    def __getitem__(self, step: int) -> Batch:
        batch = self._labelled_rows(step) if self.recipe.labelled else {}
        start = step * self.recipe.unlabelled * self.world
        if self.unlabelled and self.recipe.strong_views:
            alone = not self.recipe.labelled  # then it is an error that no unlabelled study can be read
            batch |= self._unlabelled_rows(step) if alone or self._readable(self.unlabelled.preferred(start)) else {}
        return batch | {"skipped": self.broken}

    def _labelled_rows(self, step: int) -> Batch:
        rows = [self._labelled(step, self.rank * self.recipe.labelled + row) for row in range(self.recipe.labelled)]
        return {
            "image": torch.stack([row[0] for row in rows]),
            "label": torch.stack([row[1] for row in rows]),
            "ids": [row[2] for row in rows],
            **_presence("present", [row[3] for row in rows]),
        }

    def _unlabelled_rows(self, step: int) -> Batch:
        start = self.rank * self.recipe.unlabelled
        views = [self._unlabelled(step, start + row) for row in range(self.recipe.unlabelled)]
        weak, strong, ids, present = zip(*views, strict=True)
        pairs = range(start // 2, start // 2 + (self.recipe.unlabelled + 1) // 2)
        boxes = [draw_box(self._rng(UNLABELLED, step, 2**20 + pair), self.recipe.size) for pair in pairs]
        mix = torch.stack([boxes[row // 2] for row in range(self.recipe.unlabelled)])
        stacked = {"weak": torch.stack(weak), "strong": torch.stack(strong, dim=1), "mix": mix}
        return stacked | {"unlabelled_ids": list(ids)} | _presence("unlabelled_present", present)

    def stream(self, start: int, stop: int, workers: int) -> Iterator[Batch]:
        """The batches of the steps from ``start`` up to ``stop``, prepared ahead by so many processes."""
        options: dict[str, Any] = {"prefetch_factor": 4, "multiprocessing_context": "fork"} if workers else {}
        return iter(
            DataLoader(
                self,
                batch_size=None,
                sampler=range(start, stop),
                num_workers=workers,
                worker_init_fn=_one_thread,
                **options,
            )
        )

    def _rng(self, stream: int, step: int, row: int) -> np.random.Generator:
        return np.random.default_rng((self.recipe.seed, stream, step, row))

    def _labelled(self, step: int, row: int) -> tuple[Tensor, Tensor, str, tuple[bool, ...]]:
        rng = self._rng(LABELLED, step, row)
        place = in_turns(step * self.recipe.labelled * self.world + row, len(self.labelled), self.recipe.seed)
        case, volume = self._first_readable(self.labelled[place:] + self.labelled[:place])
        pose = self._pose(rng, volume)
        centre = _centre(rng, volume, self.recipe.patch, self.recipe.foreground)
        image, label = _cut(volume, centre, pose, self.recipe)
        assert label is not None  # the cache read it with the case
        return _restyle(rng, image, volume.present), label.long(), case.id, volume.present

    def _unlabelled(self, step: int, row: int) -> tuple[Tensor, Tensor, str, tuple[bool, ...]]:
        assert self.unlabelled is not None
        rng = self._rng(UNLABELLED, step, row)
        draw = step * self.recipe.unlabelled * self.world + row
        case, volume = self._first_readable(self.unlabelled.preferred(draw))
        pose = self._pose(rng, volume)
        weak, _ = _cut(volume, _centre(rng, volume, self.recipe.patch, 0.0), pose, self.recipe)
        strong = [_restyle(rng, weak, volume.present) for _ in range(self.recipe.strong_views)]
        return weak, torch.stack(strong), case.id, volume.present

    def _pose(self, rng: np.random.Generator, volume: Volume) -> Pose:
        spacing = in_plane(volume.geometry.spacing, self.recipe.flat_axis)
        return draw_pose(rng, spacing, mirror=self.recipe.mirror)

    def _first_readable(self, cases: Sequence[Case]) -> tuple[Case, Volume]:
        """A study that breaks during a training gives its turn to the next one."""
        found = self._readable(cases)
        if found:
            return found
        raise SemisegError(
            f"Not one of {len(cases)} studies can be read any more, '{cases[0].id}' among them; are they still there?"
        )

    def _readable(self, cases: Sequence[Case]) -> tuple[Case, Volume] | None:
        """The first of the cases that can be read; those before it are noted as broken and not tried again."""
        for case in (case for case in cases if case.id not in self.broken):
            try:
                return case, self.cache.get(case)
            except StudyError as error:
                self.broken[case.id] = str(error)
        return None


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)


def _presence(key: str, rows: Sequence[tuple[bool, ...]]) -> Batch:
    return {key: torch.tensor(rows)} if len(rows[0]) > 1 else {}


def _restyle(rng: np.random.Generator, image: Tensor, present: tuple[bool, ...]) -> Tensor:
    """The patch with another appearance; each modality has its own, because it is of another scanner."""
    if len(present) == 1:
        return apply_appearance(image, draw_appearance(rng, len(image)))
    looks = [draw_appearance(rng) for _ in present]
    return torch.cat([apply_appearance(image[[m]], look) * present[m] for m, look in enumerate(looks)])


def _centre(rng: np.random.Generator, volume: Volume, patch: tuple[int, ...], foreground: float) -> np.ndarray:
    """The patch's first voxel, so that it lies inside the volume where that is possible."""
    shape = np.array(volume.image.shape[1:])
    room = shape - patch
    start = rng.integers(0, np.maximum(room, 0) + 1)
    if rng.random() < foreground and volume.places:
        places = volume.places[int(rng.choice(sorted(volume.places)))]
        within = rng.uniform(0.25, 0.75, 3) * patch  # where in the patch the labelled voxel comes to lie
        start = np.clip(places[rng.integers(len(places))] - within.astype(int), 0, np.maximum(room, 0))
    return np.where(room < 0, -((-room) // 2), start)


def _cut(volume: Volume, start: np.ndarray, pose: Pose, recipe: Recipe) -> tuple[Tensor, Tensor | None]:
    """Image ``(C, *size)`` and label ``(1, *size)`` of a patch; beyond the volume its edge goes on."""
    size, flat = recipe.size, recipe.flat_axis
    edges = reach(pose, size)
    block = np.array(edges if flat is None else (*edges[:flat], 1, *edges[flat:]))
    first = start - (block - recipe.patch) // 2
    grid = pose_grid(pose, edges, size)

    def view(array: np.ndarray, mode: str) -> Tensor:
        values = torch.from_numpy(_block(array, first, block).astype(np.float32))
        return apply_pose(values if flat is None else values.squeeze(flat + 1), grid, size, mode)

    return view(volume.image, "bilinear"), None if volume.label is None else view(volume.label[None], "nearest")


def _block(array: np.ndarray, first: np.ndarray, size: np.ndarray) -> np.ndarray:
    shape = np.array(array.shape[1:])
    low, high = np.clip(first, 0, shape - 1), np.clip(first + size, 1, shape)
    inside = array[(slice(None), *(slice(a, b) for a, b in zip(low, high, strict=True)))]
    before, after = low - first, first + size - high
    if not before.any() and not after.any():
        return inside
    return np.pad(inside, [(0, 0), *zip(np.maximum(before, 0), np.maximum(after, 0), strict=True)], mode="edge")
