"""Class-aware contrast of voxels: anchors drawn evenly from the classes, keys from the batch and a queue per class.

Wu et al., EMBC 2023, name a pixel-level contrast with compact classes far from each other in their abstract; neither
its formula nor its code was in reach. This is our reading after that abstract, from Wang et al., "Exploring cross-image
pixel contrast", ICCV 2021 (hard anchors, class queues). Background is most of a volume: a cap on the anchors of each
class, and queues of one length, keep it from being most of the loss.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lib.losses.info_nce import info_nce


def draw(pool: int, count: int, generator: torch.Generator | None = None) -> Tensor:
    """Different numbers below ``pool``, ``(min(count, pool),)``, each as likely: one from each of ``count`` stretches.

    Costs ``count``, where a permutation costs ``pool``, and spreads evenly over the images of a flattened batch.
    Drawn on the CPU, whose random state the training keeps, from ``generator`` or the global one.
    """
    if pool <= count:
        return torch.arange(pool)
    edges = torch.arange(count + 1) * pool // max(count, 1)
    within = torch.rand(count, dtype=torch.float64, generator=generator) * edges.diff()
    turn = torch.randint(pool, (1,), generator=generator)  # stretches differ in length by one: no number gains by it
    return (edges[:-1] + within.long() + turn) % pool


def sample_anchors(
    labels: Tensor, hard: Tensor | None, per_class: int, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """At most ``per_class`` voxels of each class in the batch, half of them hard ones where there are enough.

    Args:
        labels: class indices of any shape; -1: not to be used. hard: bool, same shape: where the networks are unsure
            or disagree; None: all anchors are drawn at random.

    Returns:
        Indices ``(A,)`` into the flattened labels and their classes ``(A,)``, class by class.
    """
    flat = labels.flatten()
    none = torch.empty(0, dtype=torch.int64, device=flat.device)
    chosen = [none]
    for kind in flat[flat >= 0].bincount().nonzero():  # the classes there are, without sorting the voxels
        free = flat == kind
        difficult = none
        if hard is not None:
            places = (free & hard.flatten()).nonzero().squeeze(1)
            difficult = places[draw(len(places), per_class // 2, generator).to(flat.device)]
            free[difficult] = False
        places = free.nonzero().squeeze(1)
        any_kind = places[draw(len(places), per_class - len(difficult), generator).to(flat.device)]
        chosen += [difficult, any_kind]
    indices = torch.cat(chosen)
    return indices, flat[indices]


def embeddings_at(features: Tensor, indices: Tensor) -> Tensor:
    """Embeddings ``(A, D)`` of a map ``(B, D, ...)`` at indices into its flattened ``(B, ...)``."""
    voxels = features.flatten(2)
    size = voxels.shape[2]
    return voxels[indices // size, :, indices % size]


def pixel_contrast(
    embeddings: Tensor, classes: Tensor, keys: Tensor, key_classes: Tensor, temperature: float
) -> tuple[Tensor, int]:
    """InfoNCE of anchors ``(N, D)``: same class attracts, other classes repel, among the anchors and the queue.

    Memory: a few ``(N, N + M)`` of float32, however large the volumes are.

    Args:
        classes: ``(N,)``. keys: ``(M, D)`` of a :class:`ClassQueue`, M may be 0. key_classes: ``(M,)``.
    """
    everything, kinds = torch.cat([embeddings, keys.detach()]), torch.cat([classes, key_classes])
    same = classes[:, None] == kinds[None]
    other_voxel = torch.ones_like(same).fill_diagonal_(False)  # the first N keys are the anchors themselves
    return info_nce(embeddings, everything, same & other_voxel, ~same, temperature)


class ClassQueue(nn.Module):
    """The last embeddings of each class, so that small classes have keys in batches that lack them.

    A module without parameters: its buffers go into the checkpoint, so that a resumed training equals an uninterrupted
    one. Push only what is trusted: a wrong pseudo-label stays for ``length`` embeddings of its class.

    Args:
        classes: background included. length: embeddings kept of each class. dimension: of an embedding.
    """

    vectors: Tensor
    filled: Tensor

    def __init__(self, classes: int, length: int, dimension: int) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.zeros(classes, length, dimension))  # of each class, the newest first
        self.register_buffer("filled", torch.zeros(classes, dtype=torch.int64))

    @torch.no_grad()
    def push(self, embeddings: Tensor, classes: Tensor) -> None:
        """Add embeddings ``(N, D)`` of classes ``(N,)``; the oldest make room. Class -1 is left out.

        So are embeddings that are not finite: one float16 overflow would spoil the loss of many steps to come.
        """
        sound = embeddings.isfinite().all(1)
        length = self.vectors.shape[1]
        for kind in range(len(self.vectors)):
            new = embeddings[sound & (classes == kind)].to(self.vectors.dtype).flip(0)
            self.vectors[kind] = torch.cat([new, self.vectors[kind]])[:length]
            self.filled[kind] = (self.filled[kind] + len(new)).clamp(max=length)

    def keys(self) -> tuple[Tensor, Tensor]:
        """Copies of what has been pushed, ``(K, D)``, and its classes ``(K,)``."""
        present = torch.arange(self.vectors.shape[1], device=self.filled.device) < self.filled[:, None]
        return self.vectors[present], present.nonzero()[:, 0]
