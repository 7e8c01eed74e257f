from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence

from lib.dicom.phantom_series import write_series
from lib.dicom.stack import why_not


@pytest.fixture
def headers(tmp_path: Path) -> list[Dataset]:
    files = write_series(np.zeros((4, 5, 3)), np.diag([-1.0, -1, 2, 1]), tmp_path)
    return [dcmread(file, stop_before_pixels=True) for file in files]


def all_with(keyword: str, value: object) -> Callable[[list[Dataset]], list[Dataset]]:
    def change(headers: list[Dataset]) -> list[Dataset]:
        for header in headers:
            setattr(header, keyword, value)
        return headers

    return change


def first_with(keyword: str, value: object) -> Callable[[list[Dataset]], list[Dataset]]:
    return lambda headers: [*all_with(keyword, value)(headers[:1]), *headers[1:]]


def picture(headers: list[Dataset]) -> list[Dataset]:
    header = headers[0]
    header.Modality = "CR"
    del header.ImagePositionPatient, header.ImageOrientationPatient
    return [header]


def gated_nuclear(headers: list[Dataset]) -> list[Dataset]:
    """Frames of one object that only say where the first one lies."""
    headers[0].Modality, headers[0].NumberOfFrames = "NM", 8
    return headers[:1]


def two_stacks(headers: list[Dataset]) -> list[Dataset]:
    for place, header in enumerate(headers):
        content = Dataset()
        content.StackID = str(place // 2)
        group = Dataset()
        group.FrameContentSequence = Sequence([content])
        header.PerFrameFunctionalGroupsSequence = Sequence([group])
    return headers


REFUSED: dict[str, tuple[Callable[[list[Dataset]], list[Dataset]], str]] = {
    "structure set": (all_with("Modality", "RTSTRUCT"), "no image to segment (Modality RTSTRUCT)"),
    "segmentation": (all_with("Modality", "SEG"), "no image to segment (Modality SEG)"),
    "parametric map": (all_with("SOPClassUID", "1.2.840.10008.5.1.4.1.1.30"), "no image to segment"),
    "colours": (all_with("SamplesPerPixel", 3), "images are coloured"),
    "palette": (all_with("PhotometricInterpretation", "PALETTE COLOR"), "images are coloured"),
    "localiser": (all_with("ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"]), "it is a localiser"),
    "localiser among slices": (
        first_with("ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"]),
        "localisers lie among its slices, 1 of 3 images",
    ),
    "mosaic": (all_with("ImageType", ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]), "mosaics"),
    "radiograph": (picture, "a single picture with no position in the patient (Modality CR)"),
    "single slice": (lambda headers: headers[:1], "a single slice (Modality MR)"),
    "frames without places": (gated_nuclear, "images have no position in the patient (Modality NM)"),
    "two stacks": (two_stacks, "mixes 2 stacks (StackID differs)"),
    "slope of 0": (all_with("RescaleSlope", 0), "RescaleSlope is 0"),
    "no rows": (all_with("Rows", None), "no image to segment"),
    "no columns": (all_with("Columns", None), "different sizes (0 x 5 pixels)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_set_of_slices_is_refused(headers: list[Dataset], name: str) -> None:
    break_it, sentence = REFUSED[name]
    assert why_not(headers) is None
    found = why_not(break_it(headers))
    assert found is not None
    assert sentence in found
    assert headers[0].SeriesInstanceUID in found
