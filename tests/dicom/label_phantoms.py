"""Series and labels for the tests of labels: small, and without any symmetry that could hide a flip."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from scipy.spatial.transform import Rotation

from lib.dicom.phantom_series import write_series
from lib.dicom.series import DicomSeries, read_series

SHAPE = (13, 10, 7)  # columns, rows, slices
NAMES = {5: "tumour", 1: "liver", 2: "left_atrium"}  # in no order
ORIGIN = (-41.5, 23.25, 117.0)


def affine_of(directions: NDArray, spacing: tuple[float, float, float] = (0.75, 1.25, 3.0)) -> NDArray:
    """4x4 from voxels to mm in RAS, of directions in the columns of a 3x3 matrix."""
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = directions * spacing, ORIGIN
    return affine


AXES = {  # columns: the directions of X, Y and Z in RAS, as scanners have them
    "axial": np.array([[-1, 0, 0], [0, -1, 0], [0, 0, 1]]).T,
    "axial feet first": np.array([[-1, 0, 0], [0, -1, 0], [0, 0, -1]]).T,  # the files run against the normal
    "sagittal": np.array([[0, -1, 0], [0, 0, -1], [-1, 0, 0]]).T,
    "coronal": np.array([[-1, 0, 0], [0, 0, -1], [0, 1, 0]]).T,
    "oblique": Rotation.from_euler("zyx", [17, -11, 23], degrees=True).as_matrix() @ np.diag([-1, -1, 1]),
}


def make_series(
    folder: Path, axes: str = "axial", spacing: tuple[float, float, float] = (0.75, 1.25, 3.0)
) -> DicomSeries:
    """A series of random values."""
    values = np.random.default_rng(0).integers(0, 1000, SHAPE).astype(np.int16)
    return read_series(write_series(values, affine_of(AXES[axes], spacing), folder))


def make_label() -> NDArray[np.uint8]:
    """Values of NAMES: a corner, a staircase, a single voxel, and empty slices at one end only."""
    label = np.zeros(SHAPE, dtype=np.uint8)
    label[:4, :2, :3] = 1
    for step in range(5):
        label[3 + step : 6 + step, 4 + step, 1 + step // 2] = 2
    label[12, 0, 5] = 5
    return label


def through_file(dataset: Dataset) -> Dataset:
    """The dataset as the next reader gets it, from its bytes."""
    file = BytesIO()
    dataset.save_as(file, write_like_original=False)
    file.seek(0)
    return dcmread(file)


def frame_of_reference(series: DicomSeries) -> str:
    return str(series.headers[0].FrameOfReferenceUID)
