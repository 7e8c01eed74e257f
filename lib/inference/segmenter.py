"""From an image file to a label on the image's own grid: the one path that serving, scoring and evaluation share."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from monai.inferers import sliding_window_inference
from torch import Tensor

from lib.config import Config
from lib.device import autocast, pick_device, pick_precision, place, place_network
from lib.errors import ConfigError
from lib.inference.abandon import check_wanted
from lib.inference.embedding import EncoderMeans
from lib.inference.frugal import Frugal
from lib.inference.model_file import Model
from lib.inference.uncertainty import voxel_uncertainty
from lib.methods.base import Method
from lib.studies.cases import is_picture
from lib.studies.labels import LabelMap
from lib.studies.modalities import place_of
from lib.studies.pictures import save_mask
from lib.studies.plan import Plan
from lib.studies.preprocess import Geometry, Preprocess, strongest

WINDOWS = {2: 8, 3: 2}  # that go through the networks together
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # SimpleITK's world has its first two axes the other way round


@dataclass(frozen=True)
class Segmentation:
    """A segmented image.

    Attributes:
        label: uint8 ``(X, Y, Z)`` on the image's own grid, in the values of the label map.
        uncertainty: float32 of the same shape in [0, 1], if it was asked for.
        affine: 4x4, from the image's voxels to mm in RAS.
        seconds: of each stage. version: of the model. notes: what was mended in the image.
    """

    label: np.ndarray
    uncertainty: np.ndarray | None
    affine: np.ndarray
    seconds: dict[str, float]
    version: str
    notes: tuple[str, ...] = ()

    def save(self, path: Path, values: np.ndarray | None = None, compress: bool = True) -> None:
        """Write the label (or other ``values`` of its shape) as NIfTI, NRRD or, of a picture, PNG, by the ending.

        Raises:
            ConfigError: several slices, or values that are no whole numbers of 16 bits, do not fit a PNG.
        """
        array = self.label if values is None else values
        if is_picture(path):
            if path.suffix != ".png" or array.shape[2] > 1 or array.dtype not in (np.uint8, np.uint16):
                slices = "one slice" if array.shape[2] == 1 else f"{array.shape[2]} slices"
                raise ConfigError(f"{slices} of {array.dtype} cannot be written as {path.suffix}; choose .nrrd")
            save_mask(path, array)
        else:
            self._save_volume(path, array, compress)

    def _save_volume(self, path: Path, array: np.ndarray, compress: bool) -> None:
        image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
        matrix = LPS @ self.affine
        spacing = np.linalg.norm(matrix[:3, :3], axis=0)
        image.SetSpacing(spacing.tolist())
        image.SetDirection((matrix[:3, :3] / spacing).ravel().tolist())
        image.SetOrigin(matrix[:3, 3].tolist())
        sitk.WriteImage(image, str(path), useCompression=compress)


@dataclass(frozen=True)
class Examination:
    """What selection wants to know of an image.

    Attributes:
        probabilities: ``(members, classes, X, Y, Z)`` on the grid that the networks see: the branches, after them
            those of each mirrored view, mirrored back.
        embedding: see :mod:`lib.inference.embedding`, of the image as it is; None if the networks have no encoder.
        voxel: mm^3 of a voxel of that grid.
    """

    probabilities: Tensor
    embedding: np.ndarray | None
    voxel: float


@dataclass
class Stopwatch:
    """Seconds by stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Any:
        """Adds the time of the block to this stage."""
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


class Segmenter:
    """A method with its weights, made ready for images.

    Args:
        model: what to predict with. config: the settings of this process where they differ from the stored ones
            (device, precision, overlap). strength: modality -> Dice that the model was validated with. dice: of all.
    """

    def __init__(
        self,
        method: Method,
        plan: Plan,
        labels: LabelMap,
        config: Config,
        version: str = "",
        checksum: str = "",
        strength: Mapping[str, float] | None = None,
        dice: float | None = None,
    ) -> None:
        self.device = pick_device(config.device)
        self.precision = pick_precision(config.precision, self.device)
        self.method = place_network(method, self.device).eval()
        self._frugal = Frugal(self.device, lambda device: place_network(method, device))
        self.preprocess, self.plan, self.labels = Preprocess(plan), plan, labels
        self.overlap, self.version, self.checksum = config.overlap, version, checksum
        self.strength, self.dice = dict(strength or {}), dice

    @classmethod
    def load(cls, path: Path, device: str = "auto", overlap: float | None = None) -> Segmenter:
        """The published model of this file.

        Raises:
            NotFoundError, SemisegError: see :meth:`lib.inference.model_file.Model.load`.
        """
        model = Model.load(path)
        config = model.config.replace(
            device=device, precision="auto", **({} if overlap is None else {"overlap": overlap})
        )
        known = model.metrics.get("modalities"), model.metrics.get("dice")
        return cls(model.build(), model.plan, model.labels, config, model.version, model.checksum, *known)

    def __call__(self, image: Path, uncertainty: bool = False, modality: str | None = None) -> Segmentation:
        """Segment one study, of several modalities one of its series.

        Args:
            uncertainty: add the map of :func:`voxel_uncertainty`. modality: see :meth:`modality`.

        Raises:
            StudyError: the image cannot be used.
            ConfigError: no such modality.
        """
        watch, shown = Stopwatch(), self.modality(image, modality)
        with watch.stage("preprocess"):
            volume, geometry = self.preprocess.image(image, shown)
        with watch.stage("network"):
            probabilities = self.infer(volume, shown)
        with watch.stage("restore"):
            label = self.label(probabilities, geometry)
            doubt = (
                self.preprocess.restore(voxel_uncertainty(probabilities)[None], geometry)[0].numpy()
                if uncertainty
                else None
            )
        return Segmentation(label, doubt, geometry.affine, watch.seconds, self.version, geometry.notes)

    def predict(self, image: Path, modality: str | None = None) -> Tensor:
        """Probabilities ``(branches, classes, X, Y, Z)`` on the grid that the networks see; args as of a call."""
        shown = self.modality(image, modality)
        return self.infer(self.preprocess.image(image, shown)[0], shown)

    def examine(self, image: Path, mirrored: bool = False) -> Examination:
        """Probabilities and embedding of one study (of several modalities one of its series) in the same pass.

        Args:
            mirrored: also look at it mirrored along each axis that the networks see: one more pass an axis, and so
                many times the memory.

        Raises:
            StudyError: the image cannot be used.
        """
        shown = self.modality(image)
        volume, geometry = self.preprocess.image(image, shown)
        with EncoderMeans(self.method) as means:
            views = [self.infer(volume, shown, means.add)]
        for axis in range(3) if mirrored else ():
            if axis != self.plan.flat_axis and geometry.size[axis] > 1:
                turned = np.flip(volume, axis + 1).copy()
                views.append(self.infer(turned, shown).flip(axis + 2))
        probabilities = torch.cat(views) if len(views) > 1 else views[0]
        return Examination(probabilities, means.vector(), float(np.prod(geometry.spacing)))

    def modality(self, image: Path, name: str | None = None) -> int:
        """Which of the model's modalities an image shows: the named one, else that of the file's name.

        Raises:
            StudyError: its name does not tell. ConfigError: no such modality.
        """
        names = self.plan.modality_names
        if len(names) < 2:
            return 0
        if name is None:
            return place_of(image, self.plan.modalities)
        if name not in names:
            raise ConfigError(f"The model has no modality '{name}'; it has: {', '.join(names)}")
        return names.index(name)

    @torch.inference_mode()
    def infer(self, volume: np.ndarray, modality: int = 0, told: Callable[[Tensor], None] | None = None) -> Tensor:
        """Probabilities ``(branches, classes, X, Y, Z)`` float32 on the CPU of a preprocessed ``(C, X, Y, Z)``.

        Overlapping windows of the training's patch size, weighted by a Gaussian; smaller volumes are padded by
        their edge, as in training.

        Args:
            told: of each batch of windows ``(branches, B, classes, ...)``, on the device.
        """

        def predict(windows: Tensor) -> Tensor:
            check_wanted()
            return self._frugal(piece, windows).movedim(0, 1).flatten(1, 2)  # branches as channels

        def piece(windows: Tensor) -> Tensor:
            with autocast(self._frugal.device, self.precision if self._frugal.device == self.device else torch.float32):
                found = self.method.predict(place(windows, self._frugal.device, windows.ndim - 2), modality)
            if told:
                told(found)
            return found.to(self.device)

        flat = self.plan.flat_axis
        x = torch.from_numpy(np.asarray(volume, dtype=np.float32))
        batch = x[None] if flat is None else x.movedim(flat + 1, 0)  # a volume, or its slices
        joined = sliding_window_inference(
            batch, self.plan.network_patch, WINDOWS[self.plan.dimension], predict, self.overlap,
            "gaussian", padding_mode="replicate", sw_device=self.device, device=torch.device("cpu"),
        )  # fmt: skip
        assert isinstance(joined, Tensor)
        found = joined[0] if flat is None else joined.movedim(0, flat + 1)
        return found.unflatten(0, (-1, len(self.labels.names) + 1))

    def label(self, probabilities: Tensor, geometry: Geometry) -> np.ndarray:
        """The most probable class of ``(branches, classes, X, Y, Z)``: uint8, image's own grid, label map's values."""
        maps = (self.preprocess.restore(mean[None], geometry)[0] for mean in probabilities.mean(0))
        return self.labels.to_values(strongest(maps))
