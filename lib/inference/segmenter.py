"""From an image file to a label on the image's own grid: the one path that serving, scoring and evaluation share."""

from __future__ import annotations

import time
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
from lib.inference.model_file import Model
from lib.inference.uncertainty import voxel_uncertainty
from lib.methods.base import Method
from lib.studies.labels import LabelMap
from lib.studies.plan import Plan
from lib.studies.preprocess import Geometry, Preprocess, strongest

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
        """Write the label (or other ``values`` on its grid) as NIfTI or NRRD, by the ending of ``path``."""
        array = self.label if values is None else values
        image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
        matrix = LPS @ self.affine
        spacing = np.linalg.norm(matrix[:3, :3], axis=0)
        image.SetSpacing(spacing.tolist())
        image.SetDirection((matrix[:3, :3] / spacing).ravel().tolist())
        image.SetOrigin(matrix[:3, 3].tolist())
        sitk.WriteImage(image, str(path), useCompression=compress)


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
            (device, precision, overlap).
    """

    def __init__(
        self, method: Method, plan: Plan, labels: LabelMap, config: Config, version: str = "", checksum: str = ""
    ) -> None:
        self.device = pick_device(config.device)
        self.precision = pick_precision(config.precision, self.device)
        self.method = place_network(method, self.device).eval()
        self.preprocess, self.plan, self.labels = Preprocess(plan), plan, labels
        self.overlap, self.version, self.checksum = config.overlap, version, checksum

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
        return cls(model.build(), model.plan, model.labels, config, model.version, model.checksum)

    def __call__(self, image: Path, uncertainty: bool = False) -> Segmentation:
        """Segment one study; ``uncertainty`` adds the map of :func:`voxel_uncertainty`.

        Raises:
            StudyError: the image cannot be used.
        """
        watch = Stopwatch()
        with watch.stage("preprocess"):
            volume, geometry = self.preprocess.image(image)
        with watch.stage("network"):
            probabilities = self.infer(volume)
        with watch.stage("restore"):
            label = self.label(probabilities, geometry)
            doubt = (
                self.preprocess.restore(voxel_uncertainty(probabilities)[None], geometry)[0].numpy()
                if uncertainty
                else None
            )
        return Segmentation(label, doubt, geometry.affine, watch.seconds, self.version, geometry.notes)

    def predict(self, image: Path) -> Tensor:
        """Probabilities ``(branches, classes, X, Y, Z)`` on the grid that the networks see."""
        return self.infer(self.preprocess.image(image)[0])

    @torch.inference_mode()
    def infer(self, volume: np.ndarray) -> Tensor:
        """Probabilities ``(branches, classes, X, Y, Z)`` float32 on the CPU of a preprocessed ``(C, X, Y, Z)``.

        Overlapping windows of the training's patch size, weighted by a Gaussian; smaller volumes are padded by
        their edge, as in training.
        """
        x = torch.from_numpy(np.asarray(volume, dtype=np.float32))[None]
        with autocast(self.device, self.precision):
            joined = sliding_window_inference(
                x, self.plan.patch, 2, self._branches_as_channels, self.overlap, "gaussian",
                padding_mode="replicate", sw_device=self.device, device=torch.device("cpu"),
            )  # fmt: skip
        assert isinstance(joined, Tensor)
        return joined[0].unflatten(0, (-1, len(self.labels.names) + 1))

    def label(self, probabilities: Tensor, geometry: Geometry) -> np.ndarray:
        """The most probable class by the mean of the branches: uint8, image's own grid, label map's values."""
        maps = (self.preprocess.restore(mean[None], geometry)[0] for mean in probabilities.mean(0))
        return self.labels.to_values(strongest(maps))

    def _branches_as_channels(self, windows: Tensor) -> Tensor:
        return self.method.predict(place(windows, self.device)).movedim(0, 1).flatten(1, 2)
