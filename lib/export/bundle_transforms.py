"""What surrounds the network of this bundle: the preprocessing that it was trained with, and the way back.

This file is copied into each bundle as it is, so it needs MONAI and nibabel only. It does what semiseg's own
preprocessing does: nearest RAS -> channels -> the training's spacing -> intensities; back: the image's own grid.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import nibabel.orientations as orientations
import numpy as np
import torch
from monai.data import MetaTensor
from monai.inferers import SlidingWindowInferer
from monai.transforms import MapTransform
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool3d, interpolate

PICTURE = np.diag([-1.0, -1.0, 1.0, 1.0])  # columns run to the patient's left, rows to the back, pixels of 1 mm
LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue; ITU-R BT.601
RAS = np.array([[0, 1], [1, 1], [2, 1]])


class Prepared(MapTransform):
    """An image ``(C, X, Y, Z)``, or a picture ``(C, X, Y)``, as the network sees it: ``(C, X, Y, Z)`` in RAS.

    Args:
        spacing: mm along R, A, S. slices: the axis of 2D networks that slices are stacked along, never resampled;
            None: 3D. channels: of the network. scheme: ``mr``, ``ct`` or ``picture``. window: for CT (lowest, highest,
            mean, sd) in HU.
    """

    def __init__(
        self,
        keys: Hashable,
        spacing: Sequence[float],
        slices: int | None,
        channels: int,
        scheme: str,
        window: Sequence[float],
    ) -> None:
        super().__init__(keys)
        self.spacing, self.slices, self.channels = spacing, slices, channels
        self.scheme, self.window = scheme, window

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        found = dict(data)
        for key in self.keys:
            found[key] = self.prepared(found[key])
        return found

    def prepared(self, image: MetaTensor) -> MetaTensor:
        """With the affine of the image as it was; :class:`Restored` finds its shape in ``spatial_shape``."""
        array = image.detach().cpu().numpy().astype(np.float32)
        picture = array.ndim == 3
        affine = PICTURE if picture else np.asarray(image.affine.cpu(), dtype=np.float64)
        array = array[..., None] if picture else array
        turn, own = _turn(affine)
        turned = np.moveaxis(orientations.apply_orientation(np.moveaxis(array, 0, -1), turn), -1, 0)
        bad = ~np.isfinite(turned)
        turned = np.where(bad, turned[~bad].min(), turned) if bad.any() else turned
        volume = resize(torch.from_numpy(np.ascontiguousarray(self._channels(turned))), self._size(turned, own))
        shown = MetaTensor(
            torch.from_numpy(self._normalised(volume.numpy()).astype(np.float32)), torch.from_numpy(affine)
        )
        shown.meta["filename_or_obj"] = image.meta["filename_or_obj"]
        shown.meta["spatial_shape"] = np.array(array.shape[1:])
        return shown

    def _channels(self, volume: np.ndarray) -> np.ndarray:
        """Opacity is dropped; grey repeated where the network sees colours, else colours made grey."""
        volume = volume[: 3 if len(volume) > 2 else 1]
        if len(volume) == self.channels:
            return volume
        if len(volume) == 1:
            return np.repeat(volume, self.channels, axis=0)
        return np.tensordot(np.array(LUMINANCE, dtype=volume.dtype), volume, axes=1)[None]

    def _size(self, volume: np.ndarray, own: np.ndarray) -> tuple[int, ...]:
        shape = volume.shape[1:]
        size = [max(1, round(n * old / new)) for n, old, new in zip(shape, own, self.spacing, strict=True)]
        if self.slices is not None:
            size[self.slices] = shape[self.slices]
        return tuple(int(n) for n in size)

    def _normalised(self, volume: np.ndarray) -> np.ndarray:
        if self.scheme == "ct":
            low, high, mean, sd = self.window
            return (np.clip(volume, low, high) - mean) / sd
        if self.scheme == "picture":
            low, high = np.percentile(volume, (0.5, 99.5))
            clipped = np.clip(volume, low, high) if low < high else volume
            return (clipped - clipped.mean()) / max(clipped.std(), 1e-6)
        body = volume[volume > volume.min()]
        if not body.size:
            return np.zeros_like(volume)
        low, high = np.percentile(body, (0.5, 99.5))
        return (np.clip(volume, low, high) - body.mean()) / max(body.std(), 1e-6)


class Windows(SlidingWindowInferer):
    """Sliding windows over a volume, or over the slices of each volume for 2D networks.

    Args:
        slices: the axis of slices; None: the network sees volumes. options: of MONAI's own inferer.
    """

    def __init__(self, slices: int | None, **options: Any) -> None:
        super().__init__(**options)
        self.slices = slices

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:  # type: ignore[override]
        plain = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        if self.slices is None:
            return super().__call__(plain, network, *args, **kwargs)  # type: ignore[return-value]
        axis = self.slices + 1
        each = [super(Windows, self).__call__(one.movedim(axis, 0), network, *args, **kwargs) for one in plain]
        return torch.stack([one.movedim(0, axis) for one in each])  # type: ignore[union-attr]


class Restored(MapTransform):
    """Probabilities ``(classes, X, Y, Z)`` as a label ``(1, X, Y, Z)``, of a picture ``(1, X, Y)``, on the own grid.

    Args:
        image: key of what :class:`Prepared` gave. values: of each class in the label, background first.
    """

    def __init__(self, keys: Hashable, image: Hashable, values: Sequence[int]) -> None:
        super().__init__(keys)
        self.image, self.values = image, values

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        found = dict(data)
        for key in self.keys:
            found[key] = self.restored(found[key], found[self.image])
        return found

    def restored(self, probabilities: Tensor, image: MetaTensor) -> MetaTensor:
        """Of ``(classes, X, Y, Z)`` on the networks' grid: ``(1, X, Y, Z)`` on the image's, uint8 in ``values``."""
        affine = np.asarray(image.affine.cpu(), dtype=np.float64)
        shape = [int(n) for n in image.meta["spatial_shape"]]
        turn, _ = _turn(affine)
        turned = [0, 0, 0]
        for axis, place in enumerate(turn[:, 0].astype(int)):
            turned[place] = shape[axis]
        own = resize(probabilities.detach().float().cpu(), tuple(turned))
        classes = own.max(0).indices.numpy()
        back = orientations.apply_orientation(classes, orientations.ornt_transform(RAS, turn))
        label = torch.from_numpy(np.array(self.values, dtype=np.uint8)[back])[None]
        picture = np.array_equal(affine, PICTURE) and shape[2] == 1
        own_grid = torch.eye(4, dtype=torch.float64) if picture else torch.from_numpy(affine)
        restored = MetaTensor(label[..., 0] if picture else label, own_grid)
        restored.meta["filename_or_obj"] = image.meta["filename_or_obj"]
        return restored


def resize(volume: Tensor, size: tuple[int, ...]) -> Tensor:
    """``(K, X, Y, Z)`` with another shape over the same extent; averages where it shrinks by 2 or more."""
    shrink = [old // new for old, new in zip(volume.shape[1:], size, strict=True)]
    if tuple(volume.shape[1:]) == tuple(size):
        return volume
    if max(shrink) >= 2:
        between = [new if many >= 2 else old for old, new, many in zip(volume.shape[1:], size, shrink, strict=True)]
        volume = adaptive_avg_pool3d(volume, between)  # type: ignore[arg-type]
    return interpolate(volume[None], size=size, mode="trilinear", align_corners=False)[0]


def _turn(affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The orientation change to the nearest RAS, and the spacing along R, A, S in mm."""
    turn = orientations.io_orientation(affine)
    spacing = np.empty(3)
    spacing[turn[:, 0].astype(int)] = np.linalg.norm(affine[:3, :3], axis=0)
    return turn, spacing
