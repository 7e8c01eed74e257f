"""Studies that a network learns within seconds: an asymmetric bright body in dim noise, as NIfTI or on a DICOM server.

In a picture of such a study everyone sees where its label lies: where it is bright.
"""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

LABELS = {"organ": 1, "lesion": 2}
SHAPE = (40, 36, 24)


def bright_study(seed: int) -> tuple[NDArray[np.int16], NDArray[np.uint8], NDArray[np.float64]]:
    """Image of 100 (noise), 600 (lesion) and 1000 (organ), label (both (X, Y, Z)), and the affine in RAS.

    The organ is an L with arms of different lengths in the lower half, the lesion lies at the upper part of its long
    end: no mirrored or turned copy of it covers it. Every other study is stored from head to feet.
    """
    rng = np.random.default_rng(seed)
    label = np.zeros(SHAPE, np.uint8)
    x, y, z = rng.integers((6, 6, 2), (10, 9, 5))
    label[x : x + 22, y : y + 7, z : z + 12] = 1
    label[x : x + 7, y : y + 18, z : z + 12] = 1
    label[x + 15 : x + 22, y : y + 7, z + 5 : z + 12] = 2
    image = np.array([100, 1000, 600])[label] + rng.normal(0, 25, SHAPE)
    affine = np.diag([-2.0, -2.0, -3.0 if seed % 2 else 3.0, 1.0])
    affine[:3, 3] = rng.uniform(-20, 20, 3)
    return image.round().astype(np.int16), label, affine


def write_bright_study(seed: int, image_file: Path) -> None:
    """The image as a volume on disk."""
    image, _, affine = bright_study(seed)
    nib.save(nib.Nifti1Image(image, affine), image_file)


def draw_label(seed: int, image_file: Path, label_file: Path) -> None:
    """The label as an annotator sends it: on the grid of the image that the server gave out."""
    _, label, affine = bright_study(seed)
    nib.save(nib.Nifti1Image(label, affine), label_file)
    image, drawn = sitk.ReadImage(str(image_file)), sitk.ReadImage(str(label_file))
    on_grid = sitk.Resample(drawn, image, sitk.Transform(), sitk.sitkNearestNeighbor, 0, sitk.sitkUInt8)
    sitk.WriteImage(on_grid, str(label_file))
