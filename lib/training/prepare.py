"""From the cases of a project to what a training reads: usable cases, plan, cache, patches."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.config import Config
from lib.errors import NotReadyError, StudyError
from lib.studies.cache import VolumeCache
from lib.studies.cases import TRAINING, UNLABELLED, VALIDATION, Case, fetching
from lib.studies.labels import LabelMap
from lib.studies.patches import Patches, Recipe
from lib.studies.plan import Plan, batch_size, make_plan
from lib.studies.preprocess import Preprocess
from lib.studies.rotation import Rotation
from lib.training.distribution import agreed
from lib.training.model_folder import ModelFolder

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Studies:
    """What a training works on.

    Attributes:
        training, validation, unlabelled: the usable cases of each side.
        skipped: study -> the sentence that says why it is not used.
        voxels: study -> class name -> voxels of its label, of the labelled cases.
        device: kind of the device that is trained on; decides how many slices a batch has.
    """

    cache: VolumeCache
    training: list[Case]
    validation: list[Case]
    unlabelled: list[Case]
    skipped: dict[str, str]
    voxels: dict[str, dict[str, int]]
    device: str = "cpu"

    def batch(self, config: Config) -> tuple[int, int]:
        """Labelled and unlabelled patches of an iteration and process."""
        given = config.batch_labelled, config.batch_unlabelled
        labelled, unlabelled = (batch_size(size, self.cache.preprocess.plan, self.device) for size in given)
        return labelled, unlabelled

    def patches(self, config: Config, strong_views: int, steps: int, rank: int, world: int) -> Patches:
        """The stream of patches for a training of so many steps."""
        plan = self.cache.preprocess.plan
        labelled, unlabelled = self.batch(config)
        rotation = (
            Rotation(self.unlabelled, self._capacity(), steps * unlabelled * world, config.seed)
            if self.unlabelled and strong_views
            else None
        )
        recipe = Recipe(
            plan.patch,
            labelled,
            unlabelled,
            config.foreground,
            strong_views,
            config.seed,
            plan.flat_axis,
            mirror=plan.modality == "picture",  # has no left and right, above and below
        )
        return Patches(self.cache, self.training, rotation, recipe, rank, world)

    def _capacity(self) -> int:
        """Unlabelled studies that fit the cache beside the labelled ones, by the size of those already in it."""
        sizes = [volume.image.nbytes * 1.5 for volume in (self.cache.get(case) for case in self.training)]
        room = self.cache.budget - sum(sizes) - max(sizes) * len(self.validation)
        return int(room / (1.2 * np.mean(sizes)))


def prepare(
    cases: Sequence[Case],
    labels: LabelMap,
    config: Config,
    folder: ModelFolder,
    plan: Plan | None,
    device: str,
    progress: Callable[[], None],
) -> Studies:
    """Check and preprocess the cases. A study that cannot be used is skipped and named.

    Labelled studies are preprocessed now, unlabelled ones when their turn comes; of these the file is only looked at.

    Args:
        plan: of the model that is trained on; None: one is made from the studies.
        progress: called after each study.

    Raises:
        NotReadyError: there is no usable labelled study.
    """
    sided = folder.split.assign(cases, config.validation)
    if not any(case.label for case in sided):
        raise NotReadyError("No study is labelled yet; submit at least one label, then train")
    plan = plan or make_plan([case for case in sided if case.side != VALIDATION], labels, config, device)
    cache = VolumeCache(folder.cache, Preprocess(plan), labels, config.cache_gb * 1e9)
    usable: dict[str, list[Case]] = {TRAINING: [], VALIDATION: [], UNLABELLED: []}
    skipped: dict[str, str] = {}
    voxels: dict[str, dict[str, int]] = {}
    with fetching(case for case in sided if case.label):
        for case in sided:
            try:
                if case.label:
                    voxels[case.id] = _count(cache.get(case).label, labels)
                elif config.method != "supervised":
                    _look(case)
                usable[case.side].append(case)
            except StudyError as error:
                log.warning("Skipped. %s", error)
                skipped[case.id] = str(error)
            progress()
    if not usable[TRAINING]:
        reasons = " ".join(list(skipped.values())[:3]) or "All are on the validation side."
        labelled = sum(case.label is not None for case in sided)
        raise NotReadyError(f"None of the {labelled} labelled studies can be trained on. {reasons}")
    agreed(0.0)  # under torchrun all wait until the first has prepared
    return Studies(cache, usable[TRAINING], usable[VALIDATION], usable[UNLABELLED], skipped, voxels, device)


def _look(case: Case) -> None:
    """A cheap test that the files may hold volumes; their voxels are read, or fetched, when their turn comes."""
    if case.fetch and not case.fault:
        return
    for file in case.usable().files:
        if not file.is_file():
            raise StudyError(case.id, f"{file.name} is a folder or is gone", "Remove it from the studies")


def _count(label: Any, labels: LabelMap) -> dict[str, int]:
    counts = np.bincount(np.asarray(label).ravel(), minlength=len(labels.names) + 1)
    return {name: int(counts[index]) for index, name in enumerate(labels.names, 1)}
