"""Cross-level contrast with consistency: the full patch against its own crops through the same network.

After the public code of Zhao et al., "Cross-level contrastive learning and consistency constraint for semi-supervised
medical image segmentation" (CLCC), ISBI 2022. As there: a first third of the training with the contrast, the rest with
the consistency, both on labelled and unlabelled patches; in-image negatives; the crops follow the full patch, whose
gradient is stopped. Ours: embeddings averaged over a cell where the source has a chain of strided convolutions (any
crop size, 3D as well); L2 norm; unlabelled crops are those of the strong view; 2D and 3D; instance norm over all the
crops of a patch, where the source has batch norm over all crops; a tenth of its weight of the contrast, with which a
short training would not learn the labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lib.losses.cross_level import cross_level
from lib.losses.dice_ce import dice_ce
from lib.methods.base import Method, Term, sigmoid_ramp
from lib.methods.mean_teacher import squared_difference
from lib.methods.monitors import watch
from lib.networks.heads import Projection, pool
from lib.networks.norms import normalised_together
from lib.networks.unet import Decoded, UNet

FIRST_PHASE = 1 / 3  # share of the training with the contrast
CONTRAST = 0.1  # weight of the contrast
GRID = {2: 4, 3: 2}  # crops along each axis that is long enough
SHORTEST = 16  # voxels of a crop's edge


class CrossLevel(Method):
    """Terms ``supervised`` and ``cross_level``, later ``consistency``.

    Args:
        weight: of the consistency of one crop after its ramp. temperature: of the contrast.
    """

    strong_views: ClassVar[int] = 1

    def __init__(self, network: UNet, weight: float, ramp: float, temperature: float) -> None:
        super().__init__()
        self.networks = nn.ModuleList([network])
        self.head = Projection(network.shape.widths[0])
        self.weight, self.ramp, self.temperature = weight, ramp, temperature

    def losses(self, batch: dict[str, Any], progress: float) -> dict[str, Term]:
        """Those of the full patches and of their crops; the crops teach first, the full patches later."""
        network: UNet = self.networks[0]  # type: ignore[assignment]
        image, label = batch["image"], batch["label"]
        weak = batch.get("weak", image[:0])
        strong = batch["strong"][0] if "weak" in batch else weak
        full = network.decode(torch.cat([image, weak]))
        labelled, unlabelled = full.logits.float().softmax(1).split([len(image), len(weak)])
        grid = crop_grid(image.shape[2:], [prod(steps) for steps in zip(*network.shape.strides, strict=True)])
        with normalised_together(network, prod(grid)):
            crops = network.decode(cut(torch.cat([image, strong]), grid))
        of_crops = joined(crops.logits.detach().float().softmax(1), grid)[len(image) :]
        self.monitors = watch([labelled], label, [unlabelled, of_crops])
        supervised = Term(dice_ce(full.logits[: len(image)], label))
        return {"supervised": supervised} | self._between_levels(full, crops, grid, progress)

    def _between_levels(self, full: Decoded, crops: Decoded, grid: Sequence[int], progress: float) -> dict[str, Term]:
        """The term that compares the levels, by phase."""
        if progress < FIRST_PHASE:
            areas = self.head(pool(full.features[0], grid)).flatten(2).transpose(1, 2)
            keys = self.head(pool(crops.features[0], [1] * len(grid))).flatten(1).unflatten(0, (len(areas), -1))
            loss, valid = cross_level(areas, keys, self.temperature)
            return {"cross_level": Term(loss, CONTRAST, valid)}
        target = full.logits.detach().float().softmax(1)
        found = joined(crops.logits.float().softmax(1), grid)
        since = (progress - FIRST_PHASE) / (1 - FIRST_PHASE)
        rising = self.weight * sigmoid_ramp(since, self.ramp)
        # summed over the crops, as in the source: their mean, even four times of it, teaches less
        return {"consistency": Term(squared_difference(found, target), rising * prod(grid))}


def crop_grid(size: Sequence[int], strides: Sequence[int]) -> list[int]:
    """Crops along each axis: as many as :data:`GRID` says, fewer where they would be too short or uneven.

    Args:
        strides: of the network, from the image to its bottleneck; a crop keeps two positions there, since with one its
            deepest convolutions would see nothing but their padding beside it.
    """
    most, found = GRID[len(size)], []
    for edge, stride in zip(size, strides, strict=True):
        shortest = min(max(SHORTEST, 2 * stride), edge)
        found.append(next(n for n in range(most, 0, -1) if edge % n == 0 and edge // n >= shortest))
    return found


def cut(x: Tensor, grid: Sequence[int]) -> Tensor:
    """``(B, C, ...)`` as its crops, image by image: ``(B K, C, ...)``."""
    return torch.stack([x[part] for part in _parts(x, grid)], 1).flatten(0, 1)


def joined(crops: Tensor, grid: Sequence[int]) -> Tensor:
    """The inverse of :func:`cut`: ``(cells B, C, ...)`` to ``(B, C, ...)``."""
    count = prod(grid)
    size = [edge * n for edge, n in zip(crops.shape[2:], grid, strict=True)]
    whole = crops.new_empty(len(crops) // count, crops.shape[1], *size)
    for number, part in enumerate(_parts(whole, grid)):
        whole[part] = crops[number::count]
    return whole


def _parts(x: Tensor, grid: Sequence[int]) -> list[tuple[slice, ...]]:
    edges = [edge // n for edge, n in zip(x.shape[2:], grid, strict=True)]
    places = product(*(range(n) for n in grid))
    whole = (slice(None), slice(None))
    return [(*whole, *(slice(k * e, (k + 1) * e) for k, e in zip(place, edges, strict=True))) for place in places]
