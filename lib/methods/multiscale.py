"""Multiscale contrastive learning with cross-supervision, the default.

After the abstract of Wu et al., "Semi-supervised medical image segmentation with multiscale contrastive learning and
cross supervision", EMBC 2023. Known from it: perturbation of the input and of the encoded features, cross-supervision
between the outputs, contrast of pixels and of patches for compact classes far from each other. Everything else here is
our reading, with the parts named in ``docs/explanation/methods.md``: two networks, CutMix and appearance for the input,
the features of Ouali et al. (CVPR 2020), hard anchors and class queues of Wang et al. (ICCV 2021).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lib.losses.patch_contrast import block_classes, block_embeddings, patch_contrast
from lib.losses.pixel_contrast import ClassQueue, embeddings_at, pixel_contrast, sample_anchors
from lib.methods.base import Term, sigmoid_ramp
from lib.methods.cells import cell_classes, cell_probabilities
from lib.methods.cross_pseudo import CrossPseudo, Lesson
from lib.networks.heads import SIZE, Projection
from lib.networks.unet import UNet

ANCHORS = 128  # voxels a class and branch; with the queues, a few (256, 768) matrices a branch for two classes
QUEUE = 256  # embeddings a class
SURE = 0.97  # below this probability of its class a voxel is a hard anchor (Wang et al.)
AGREED = 0.8  # certainty that both teachers need before an unlabelled voxel has a class here
BLOCK, MAJORITY = 4, 0.75  # edge of a block on the features' grid; share of its voxels that must be of one class


class Multiscale(CrossPseudo):
    """:class:`CrossPseudo` with perturbed features and two contrastive terms on the finest decoder features.

    Args:
        contrast: weight of each contrastive term after the ramp. temperature: of both.
    """

    disturbs = True

    def __init__(
        self,
        networks: Sequence[UNet],
        weight: float,
        ramp: float,
        confidence: float,
        contrast: float,
        temperature: float,
    ) -> None:
        super().__init__(networks, weight, ramp, confidence)
        shape = networks[0].shape
        self.contrast, self.temperature = contrast, temperature
        self.head = Projection(shape.widths[0])  # one for both branches: one space of embeddings
        self.queue = ClassQueue(shape.classes, QUEUE, SIZE)

    def terms(self, lessons: Sequence[Lesson], label: Tensor, progress: float) -> dict[str, Term]:
        """Those of :class:`CrossPseudo`, ``pixel_contrast`` and ``patch_contrast``; label ``(B, 1, ...)``."""
        rising = self.contrast * sigmoid_ramp(progress, self.ramp)
        grid = lessons[0].decoded.features[0].shape[2:]
        classes = cell_classes(known_classes(lessons, label), grid)
        pixels, anchors = self._pixels(lessons, classes)
        patches, blocks = self._patches(lessons, classes)
        return super().terms(lessons, label, progress) | {
            "pixel_contrast": Term(pixels, rising, anchors),
            "patch_contrast": Term(patches, rising, blocks),
        }

    def _pixels(self, lessons: Sequence[Lesson], classes: Tensor) -> tuple[Tensor, int]:
        """Mean over the branches; the queue takes the anchors of labelled patches that the branch is sure of."""
        keys, key_classes = self.queue.keys()
        losses, count, fresh = [], 0, []
        for lesson in lessons:
            hard = _certainty(lesson.decoded.logits, classes) < SURE
            indices, kinds = sample_anchors(classes, hard, ANCHORS)
            anchors = self.head(embeddings_at(lesson.decoded.features[0], indices))
            loss, valid = pixel_contrast(anchors, kinds, keys, key_classes, self.temperature)
            labelled = indices < lesson.labelled * classes[0].numel()
            fresh.append((anchors.detach(), kinds.masked_fill(~labelled | hard.flatten()[indices], -1)))
            losses.append(loss)
            count += valid
        for vectors, kinds in fresh:  # after both, so that the branches see the same queue
            self.queue.push(vectors.float(), kinds)
        return torch.stack(losses).mean(), count

    def _patches(self, lessons: Sequence[Lesson], classes: Tensor) -> tuple[Tensor, int]:
        block = [min(BLOCK, edge) for edge in classes.shape[1:]]
        first, second = (self.head(block_embeddings(lesson.decoded.features[0], block)) for lesson in lessons)
        return patch_contrast(first, second, block_classes(classes, block, MAJORITY), self.temperature)


@torch.no_grad()
def known_classes(lessons: Sequence[Lesson], label: Tensor) -> Tensor:
    """``(B + U, 1, ...)``: the label; on unlabelled voxels what both teachers are sure of, else -1."""
    first, second = (lesson.pseudo for lesson in lessons)
    sure = (first.label == second.label) & (torch.minimum(first.certainty, second.certainty) >= AGREED)
    return torch.cat([label, first.label.masked_fill(~sure, -1)])


@torch.no_grad()
def _certainty(logits: Tensor, classes: Tensor) -> Tensor:
    """The mean probability that the logits give to the class of each cell ``(B, *grid)``; 1 where it is -1."""
    own = cell_probabilities(logits, classes.shape[1:]).gather(1, classes.clamp(min=0)[:, None]).squeeze(1)
    return own.masked_fill(classes < 0, 1.0)
