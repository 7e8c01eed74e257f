"""A real Orthanc with a few small series, and what the tests ask of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from lib.dicom.phantom_series import write_series
from lib.dicom.segmentation_write import write_segmentation
from lib.dicom.web import DicomWeb
from tests.dicom.gateway import Gateway, gateway
from tests.dicom.orthanc import Orthanc, orthanc

SHAPE = (9, 8, 6)
AFFINE = np.array([[-2.0, 0, 0, 10], [0, -3.0, 0, 20], [0, 0, 4.0, -30], [0, 0, 0, 1]])


@dataclass(frozen=True)
class Uploaded:
    """A series on the server: what was put into it, and its files."""

    uid: str
    study: str
    array: NDArray
    files: list[Path]

    @property
    def headers(self) -> list[Dataset]:
        return [dcmread(file, stop_before_pixels=True) for file in self.files]


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests do not wait between two listings."""
    for name in ("MOMENT", "AGAIN"):
        monkeypatch.setattr(f"lib.dicom.listing.{name}", 0.0)


@pytest.fixture
def orthanc_server(tmp_path: Path) -> Iterator[Orthanc]:
    """An empty Orthanc."""
    with orthanc(tmp_path / "orthanc") as running:
        yield running


@pytest.fixture
def server(orthanc_server: Orthanc) -> Orthanc:
    return orthanc_server


@pytest.fixture
def web(orthanc_server: Orthanc) -> DicomWeb:
    return DicomWeb(orthanc_server.url)


@pytest.fixture
def hidden(orthanc_server: Orthanc) -> Iterator[Gateway]:
    """The same server as one that knows nothing but DICOMweb."""
    with gateway(orthanc_server.url) as running:
        yield running


@pytest.fixture
def upload(orthanc_server: Orthanc, tmp_path: Path) -> Callable[..., Uploaded]:
    """Puts a series of random numbers on the server; ``only`` so many of its slices."""

    def uploaded(name: str, only: int | None = None, **options: object) -> Uploaded:
        seed = int.from_bytes(name.encode(), "little")
        array = np.random.default_rng(seed).integers(-1000, 1000, SHAPE).astype(np.int16)
        options = {"study": name, "modality": "CT"} | options
        files = write_series(array, AFFINE, tmp_path / "series" / name, **options)
        orthanc_server.upload(files[:only])
        header = dcmread(files[0], stop_before_pixels=True)
        return Uploaded(str(header.SeriesInstanceUID), str(header.StudyInstanceUID), array, files)

    return uploaded


@pytest.fixture
def label(web: DicomWeb) -> Callable[..., Dataset]:
    """Stores a segmentation of a series on the server, as a viewer does; each ``made`` a minute after the last."""
    minutes = iter(range(60))

    def stored(series: Uploaded, array: NDArray | None = None, **attributes: object) -> Dataset:
        if array is None:
            array = (series.array > 500).astype(np.uint8)
        dataset = write_segmentation(array, {1: "organ", 2: "lesion"}, series.headers)
        dataset.ContentDate, dataset.ContentTime = "20240102", f"12{next(minutes):02d}00"
        for keyword, value in attributes.items():
            setattr(dataset, keyword, value)
        web.store(dataset)
        return dataset

    return stored
