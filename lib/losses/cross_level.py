"""Cross-level contrast: a cell of the full image's map against the embedding of the crop that shows the same area.

Source: the public code of Zhao et al., "Cross-level contrastive learning and consistency constraint for semi-supervised
medical image segmentation" (CLCC), ISBI 2022. There, features have an L1 norm of 1, which leaves the loss little room
to fall (``norm=1`` reproduces it); the default here is the L2 norm of the field. Ours too: ``classes``, since
segmentation must merge cells of one class that the loss pushes apart.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lib.losses.info_nce import contrast, unit


def cross_level(
    cells: Tensor, crops: Tensor, temperature: float, norm: float = 2.0, classes: Tensor | None = None
) -> tuple[Tensor, int]:
    """InfoNCE of K cells with their K crops; the other crops of the same image repel. Only the cells' side learns.

    A network that tells nothing apart has ln K: 3.219 for 5 x 5 crops.

    Args:
        cells, crops: ``(B, K, D)``, k-th cell and k-th crop of the same area. norm: 1 or 2, of the features.
        classes: predicted class of each area ``(B, K)``; areas of the same class then do not repel each other.
    """
    with torch.autocast(cells.device.type, enabled=False):
        similarities = unit(cells, norm=norm) @ unit(crops.detach(), norm=norm).transpose(1, 2) / temperature
    same_area = torch.eye(cells.shape[1], dtype=torch.bool, device=cells.device).expand_as(similarities)
    alike = same_area if classes is None else same_area | (classes[:, :, None] == classes[:, None, :])
    return contrast(similarities.flatten(0, 1), same_area.flatten(0, 1), ~alike.flatten(0, 1))
