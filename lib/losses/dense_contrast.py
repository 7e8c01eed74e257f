"""Dense local contrast of two views of an image, without labels: what shows the same place attracts.

After the abstract of Basak et al., IDEAL, ICASSP 2023 (dense maps of a convolutional projection head; corresponding
local features of two views attract). The formula is our reading, in the manner of Wang et al., "Dense contrastive
learning" (DenseCL), CVPR 2021; the temperature of the paper is unknown.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lib.losses.info_nce import contrast, unit


def _cells(maps: Tensor) -> Tensor:
    """Unit vectors ``(B, cells, D)`` of a map ``(B, D, *cells)``."""
    return unit(maps.flatten(2).transpose(1, 2))


@torch.no_grad()
def nearest_cells(query_positions: Tensor, key_positions: Tensor, reach: float) -> Tensor:
    """``geometric`` correspondence: the key cell ``(B, N)`` nearest to each query cell, -1 where none is in reach.

    Args:
        query_positions, key_positions: ``(B, N, axes)`` and ``(B, M, axes)``: where the cells' centres lie in the image
            that both views were cut from. reach: largest distance of two cells of the same place, in the same unit.
    """
    # by differences: the quicker way by products is off by whole voxels for positions far from 0
    exact = "donot_use_mm_for_euclid_dist"
    distance, nearest = torch.cdist(query_positions.float(), key_positions.float(), compute_mode=exact).min(2)
    return nearest.masked_fill(~(distance <= reach), -1)


@torch.no_grad()
def most_similar_cells(query_features: Tensor, key_features: Tensor) -> Tensor:
    """``argmax`` correspondence: the key cell ``(B, N)`` most similar to each query cell.

    Of the backbone's features ``(B, F, *cells)``, not of the projections that the loss moves. At random weights the
    answer is random: begin with ``geometric``.
    """
    with torch.autocast(query_features.device.type, enabled=False):
        return (_cells(query_features) @ _cells(key_features).transpose(1, 2)).argmax(2)


def dense_contrast(
    query: Tensor, key: Tensor, match: Tensor, temperature: float, across: bool = False
) -> tuple[Tensor, int]:
    """InfoNCE of each query cell with its corresponding key cell; the other cells of that key map repel.

    Only the query side learns. Memory: a few ``(B, N, M)`` of float32 for N query and M key cells, B times that with
    ``across``: for the encoder's last resolution, not for voxels.

    Args:
        query, key: projected maps ``(B, D, *cells)``. match: ``(B, N)`` key cell of each query cell; -1: it has none
            and is left out. across: the cells of the batch's other key maps repel too.
    """
    with torch.autocast(query.device.type, enabled=False):
        queries, keys = _cells(query), _cells(key.detach())
        images, cells = keys.shape[:2]
        place = match.clamp(min=0)
        if across:
            place = place + cells * torch.arange(images, device=match.device)[:, None]
            keys = keys.flatten(0, 1).expand(images, -1, -1)
        similarities = queries @ keys.transpose(1, 2) / temperature
    there = place[..., None] == torch.arange(keys.shape[1], device=place.device)
    positive = there & (match >= 0)[..., None]
    return contrast(similarities.flatten(0, 1), positive.flatten(0, 1), ~there.flatten(0, 1))
