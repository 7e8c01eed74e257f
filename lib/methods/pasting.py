"""Labelled and unlabelled patches that exchange a box, with the labels of both.

Source: Bai et al., "Bidirectional copy-paste for semi-supervised medical image segmentation", CVPR 2023.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lib.losses.dice_ce import dice_ce
from lib.methods.pseudo import PseudoLabel


@dataclass(frozen=True)
class Pasted:
    """Mixed patches: the labelled ones with an unlabelled box, then the unlabelled ones with a labelled box.

    Attributes:
        image: ``(2 B, C, ...)``. label: true and pseudo-labels ``(2 B, 1, ...)``. known: voxels with a true label.
        trusted: voxels with a pseudo-label that is sure enough.
    """

    image: Tensor
    label: Tensor
    known: Tensor
    trusted: Tensor

    @classmethod
    def of(cls, image: Tensor, label: Tensor, view: Tensor, pseudo: PseudoLabel, box: Tensor) -> Pasted:
        """Pairs row by row; the shorter stream starts again.

        Args:
            image, label: labelled patches. view, pseudo: unlabelled ones and what a teacher says of them.
            box: ``(U, 1, ...)`` bool.
        """
        rows = torch.arange(max(len(image), len(view)), device=image.device)
        ours, theirs = rows % len(image), rows % len(view)
        box = box[theirs]
        known = torch.cat([~box, box])
        trusted = pseudo.trust[theirs].repeat(2, *[1] * (box.ndim - 1)) & ~known
        label = exchange(label[ours], pseudo.label[theirs], box)
        return cls(exchange(image[ours], view[theirs], box), label, known, trusted)

    def unpasted(self, mixed: Tensor, box: Tensor) -> Tensor:
        """The part of ``(2 B, K, ...)`` that lies on the unlabelled patches, put together again: ``(U, K, ...)``."""
        first, second = (half[: len(box)] for half in mixed.chunk(2))
        return torch.where(box, first, second)

    def losses(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Of ``(2 B, classes, ...)`` where labels are true and where they are pseudo; it may lack a class."""
        return (
            dice_ce(logits, self.label, smooth=1.0, weight=self.known),
            dice_ce(logits, self.label, smooth=1.0, weight=self.trusted),
        )


def exchange(labelled: Tensor, unlabelled: Tensor, box: Tensor) -> Tensor:
    """``(2 B, ...)``: labelled with unlabelled inside the box, then unlabelled with labelled inside it."""
    return torch.cat([torch.where(box, unlabelled, labelled), torch.where(box, labelled, unlabelled)])
