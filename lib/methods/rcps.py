"""Rectified contrastive pseudo-supervision: one network, three views of a patch.

After the public code of Zhao et al., "RCPS", IEEE JBHI 28(1), 2024. As there: the original's sharpened prediction
teaches both strong views, weighed down where they diverge; the views' logits agree in direction; a voxel's embedding
is attracted by its own in the other view and repelled by confident voxels of other classes in the other stream. Ours:
no deep supervision; the rectified terms are taken on unlabelled patches, whose strong views are at hand; anchors drawn
at random; negatives of the anchor's own class never slip in.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lib.losses.dice_ce import dice_ce
from lib.losses.rectified import confident_negatives, cosine_consistency, rectified_pseudo_supervision, voxel_contrast
from lib.methods.base import Method, Term, sigmoid_ramp
from lib.methods.cells import cell_probabilities
from lib.methods.monitors import watch
from lib.networks.heads import Projection
from lib.networks.unet import UNet

LEVEL = 1  # of the decoder's features: a quarter of the image's resolution, as in the source
NEGATIVES = 400  # most confident voxels of other classes, as in the source
CONTRAST = 0.1  # weight of the voxel contrast, as in the source


class RCPS(Method):
    """Terms ``supervised``, ``rectified``, ``cosine`` and ``voxel_contrast``.

    Args:
        weight: of the rectified and the cosine term after the ramp. temperature: of the voxel contrast.
    """

    strong_views: ClassVar[int] = 2

    def __init__(self, network: UNet, weight: float, ramp: float, temperature: float) -> None:
        super().__init__()
        self.networks = nn.ModuleList([network])
        self.head = Projection(network.shape.widths[LEVEL])
        self.weight, self.ramp, self.temperature = weight, ramp, temperature

    def losses(self, batch: dict[str, Any], progress: float) -> dict[str, Term]:
        """The two strong views are drawn to the original view, less where they diverge."""
        network: UNet = self.networks[0]  # type: ignore[assignment]
        image, label = batch["image"], batch["label"]
        if "weak" not in batch:
            return {"supervised": Term(dice_ce(network(image), label))}
        with torch.no_grad():  # the original teaches and does not learn
            original = network(batch["weak"]).float()
        sizes = [len(image), *[len(original)] * 2]
        decoded = network.decode(torch.cat([image, *batch["strong"]]))
        labelled, first, second = decoded.logits.float().split(sizes)
        self.monitors = watch([labelled.softmax(1)], label, [original.softmax(1), first.softmax(1)])
        rectified = [rectified_pseudo_supervision(view, original) for view in (first, second)]
        contrast, anchors = self._contrast(decoded.features[LEVEL], labelled, original)
        ramp = sigmoid_ramp(progress, self.ramp)
        return {
            "supervised": Term(dice_ce(labelled, label)),
            "rectified": Term(torch.stack(rectified).mean(), self.weight * ramp),
            "cosine": Term(cosine_consistency(first, second), self.weight * ramp),
            "voxel_contrast": Term(contrast, CONTRAST * ramp, anchors),
        }

    def _contrast(self, features: Tensor, labelled: Tensor, original: Tensor) -> tuple[Tensor, int]:
        """Voxels of the unlabelled views, against confident ones of the labelled patches."""
        said, known = (_voxels(cell_probabilities(logits, features.shape[2:])) for logits in (labelled, original))
        sizes = [len(labelled), *[len(original)] * 2]
        others, first, second = (_voxels(part) for part in self.head(features).split(sizes))
        negatives = confident_negatives(said, NEGATIVES)
        return voxel_contrast(first, second, known.argmax(1), others, negatives, self.temperature)


def _voxels(x: Tensor) -> Tensor:
    """``(B, C, ...)`` as ``(voxels, C)``."""
    return x.flatten(2).transpose(1, 2).flatten(0, 1)
