"""One vector a study from the features that the encoder makes anyway while the study is segmented.

Two means over the deepest level of the encoder, of the first branch that looks at a window: one over the whole study,
one over the neighbourhood of what was predicted. Each becomes a unit vector and they are joined, so both count alike.
What two studies have in common inside and around the structures and what they have in common as wholes then both bring
them together.

A cell of the deepest level covers some 8 to 16 voxels along each axis, so a cell that the foreground touches is its
neighbourhood. It counts by the highest probability of any foreground in it: where nothing was predicted, the mean is
taken where the model came nearest to it. Voxels in the overlap of windows count once a window.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_max_pool2d, adaptive_max_pool3d

from lib.methods.base import Method


class EncoderMeans:
    """Listens to the encoders of a method while the block runs; :meth:`add` is told of each batch of windows.

    Of branches with an encoder each, the first one to look at a window is listened to; of a method with a network for
    each modality that is the modality's own, so vectors of different modalities are not alike.
    """

    def __init__(self, method: Method) -> None:
        self.encoders = {id(each): each for each in map(_encoder, method.networks) if each is not None}.values()
        self._deepest: Tensor | None = None
        self._heard: nn.Module | None = None
        self._sums: Tensor | None = None  # (2, C): over the whole, near the foreground
        self._weights: Tensor | None = None  # (2, 1)

    def __enter__(self) -> EncoderMeans:
        self._hooks = [each.register_forward_hook(self._listen) for each in self.encoders]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _listen(self, encoder: nn.Module, given: Any, features: list[Tensor]) -> None:
        if self._deepest is None or self._heard is encoder:  # that the pass before ended without memory
            self._deepest, self._heard = features[-1], encoder

    def add(self, probabilities: Tensor) -> None:
        """Take in the windows that have just been predicted: ``(branches, B, classes, ...)``."""
        if self._deepest is None:
            return
        features, self._deepest = self._deepest, None
        foreground = 1 - probabilities[:, :, :1].float().mean(0)  # float32, and with it the sums: fp16 ends at 65,504
        pool = adaptive_max_pool3d if foreground.ndim == 5 else adaptive_max_pool2d
        near = pool(foreground, tuple(features.shape[2:]))  # (B, 1, ...)
        weights = torch.stack([torch.ones_like(near), near]).flatten(3)  # (2, B, 1, cells)
        sums = (features.flatten(2) * weights).sum((1, 3))
        self._sums = sums if self._sums is None else self._sums + sums
        amount = weights.sum((1, 3))
        self._weights = amount if self._weights is None else self._weights + amount

    def vector(self) -> np.ndarray | None:
        """Of all windows so far: float32 ``(2 C,)`` of length 1; None if no encoder took part, or one overflowed."""
        if self._sums is None or self._weights is None:
            return None
        means = (self._sums / self._weights.clamp(min=1e-6)).cpu().double()
        joined = torch.nn.functional.normalize(means, dim=1).flatten()
        length = joined.norm()
        return (joined / length).float().numpy() if torch.isfinite(length) and length > 0 else None


def _encoder(network: nn.Module) -> nn.Module | None:
    found = getattr(network, "encoder", None)
    return found if isinstance(found, nn.Module) else None
