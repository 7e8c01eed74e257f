from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from lib.dicom.phantom_series import uid, write_series
from lib.dicom.stack import stack, why_not
from lib.errors import StudyError

SHAPE = (6, 5, 8)
SPACING = (0.75, 1.25, 2.5)
Headers = list[Dataset]


def headers_of(folder: Path, shape: tuple[int, int, int] = SHAPE, series: str = "1") -> Headers:
    """A tilted stack whose slices run against the order of InstanceNumber."""
    turn = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn * [1, 1, -1] * SPACING, (10, -20, 30)
    files = write_series(np.zeros(shape), affine, folder, patient="Doe", series=series)
    return [dcmread(file, stop_before_pixels=True) for file in files]


@pytest.fixture
def headers(tmp_path: Path) -> Headers:
    return headers_of(tmp_path)


def set_all(headers: Headers, keyword: str, values: list) -> Headers:
    for header, value in zip(headers, values, strict=True):
        setattr(header, keyword, value)
    return headers


def moved(headers: Headers, shift: Callable[[int], np.ndarray]) -> Headers:
    places = [np.array(header.ImagePositionPatient, float) + shift(place) for place, header in enumerate(headers)]
    return set_all(headers, "ImagePositionPatient", [list(place.round(6)) for place in places])


def normal_of(headers: Headers) -> np.ndarray:
    orientation = np.array(headers[0].ImageOrientationPatient, float)
    return np.cross(orientation[:3], orientation[3:])


def another(header: Dataset) -> Dataset:
    copy = Dataset.from_json(header.to_json())
    copy.SOPInstanceUID = uid("another", header.SOPInstanceUID)
    return copy


def twice(headers: Headers, keyword: str, values: tuple) -> Headers:
    """Every position two times, told apart by one attribute."""
    copies = [another(header) for header in headers]
    return set_all(headers, keyword, [values[0]] * len(headers)) + set_all(copies, keyword, [values[1]] * len(headers))


def turned(headers: Headers) -> Headers:
    orientation = list(headers[0].ImageOrientationPatient)
    headers[0].ImageOrientationPatient = orientation[3:] + orientation[:3]
    return headers


def without(headers: Headers, *places: int) -> Headers:
    return [header for place, header in enumerate(headers) if place not in places]


def changed(headers: Headers, keyword: str, value: object, place: int = 3) -> Headers:
    setattr(headers[place], keyword, value)
    return headers


REFUSED: dict[str, tuple[Callable[[Headers], Headers], str]] = {
    "a missing slice": (lambda h: without(h, 2), "1 slice is missing: 5.000 mm between slices .* elsewhere 2.500 mm"),
    "three missing slices": (lambda h: without(h, 2, 3, 5), "3 slices are missing"),
    "the last but one": (lambda h: without(h, 6), "1 slice is missing"),
    "uneven": (
        lambda h: moved(h, lambda z: 0.3 * (z % 2) * normal_of(h)),
        "distances are uneven, from 2.200 to 2.800 mm",
    ),
    "a slice beside another": (lambda h: moved(h, lambda z: 2.49 * (z == 3) * normal_of(h)), "uneven, from 0.010"),
    "two orientations": (turned, "8 images have 2 different orientations .ImageOrientationPatient"),
    "two pixel sizes": (lambda h: changed(h, "PixelSpacing", [1, 1]), "2 different pixel sizes .PixelSpacing"),
    "two sizes": (lambda h: changed(h, "Rows", 9), "different sizes .6 x 5, 6 x 9 pixels"),
    "two spaces": (lambda h: changed(h, "FrameOfReferenceUID", "1.2"), "2 frames of reference"),
    "two series": (lambda h: changed(h, "SeriesInstanceUID", "1.2"), "belong to 2 series"),
    "a tilted gantry": (
        lambda h: moved(h, lambda z: z * 0.6 * np.array(h[0].ImageOrientationPatient[3:], float)),
        "sheared by 13.5 degrees .* tilted gantry",  # atan(0.6 / 2.5)
    ),
    "one aside": (
        lambda h: moved(h, lambda z: (z == 4) * 2.0 * np.array(h[0].ImageOrientationPatient[:3], float)),
        "shifted against each other unevenly",
    ),
    "no position": (
        lambda h: changed(h, "ImagePositionPatient", None),
        "ImagePositionPatient is missing or unusable in 1 of",
    ),
    "half a position": (
        lambda h: changed(h, "ImagePositionPatient", [1, 2]),
        "ImagePositionPatient is missing or unusable in",
    ),
    "no orientation": (
        lambda h: changed(h, "ImageOrientationPatient", None),
        "ImageOrientationPatient is missing or unusable in",
    ),
    "no pixel size": (lambda h: changed(h, "PixelSpacing", None), "PixelSpacing is missing or unusable in"),
    "pixels of 0 mm": (lambda h: set_all(h, "PixelSpacing", [[0, 1]] * 8), "PixelSpacing is 0 x 1 mm"),
    "a skewed plane": (lambda h: set_all(h, "ImageOrientationPatient", [[1, 0, 0, 0.6, 0.8, 0]] * 8), "right angle"),
    "all at one position": (
        lambda h: set_all(h, "ImagePositionPatient", [[0, 0, 0]] * 8),
        "8 volumes lie in it under one SeriesInstanceUID: no attribute",
    ),
    "one slice doubled": (
        lambda h: h + changed([another(h[4])], "EchoTime", 9, 0),
        "at some of its 8 positions there are 2 images under one .* EchoTime .5.0, 9",
    ),
}
PHASES = {
    "EchoTime": (5, 10),
    "InversionTime": (100, 900),
    "TriggerTime": (0, 40.5),
    "TemporalPositionIdentifier": (1, 2),
    "DiffusionBValue": (0.0, 800.0),
    "ImageType": (["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"]),
    "AcquisitionNumber": (1, 2),
}


@pytest.mark.parametrize("order", ["as sent", "backwards", "shuffled"])
def test_affine_and_order_are_those_of_the_standard(headers: Headers, order: str) -> None:
    places = {"as sent": range(8), "backwards": range(7, -1, -1), "shuffled": [3, 1, 7, 0, 2, 6, 5, 4]}[order]
    found = stack([headers[place] for place in places])
    assert [frame.get("InstanceNumber") for frame in found.frames] == list(range(8, 0, -1))
    assert found.shape == SHAPE
    normal = normal_of(headers)
    heights = [np.array(frame.get("ImagePositionPatient"), float) @ normal for frame in found.frames]
    assert np.all(np.diff(heights) > 0)
    for z, frame in enumerate(found.frames):  # equation C.7.6.2.1-1 of PS3.3, in LPS
        header = frame.header
        orientation, (down, across) = np.array(header.ImageOrientationPatient, float), header.PixelSpacing
        for i, j in ((0, 0), (5, 0), (0, 4), (3, 2)):  # column, row
            point = np.array(header.ImagePositionPatient, float)
            point = point + orientation[:3] * across * i + orientation[3:] * down * j
            assert np.allclose((found.affine @ [i, j, z, 1])[:3], point * [-1, -1, 1], atol=1e-6)


def test_numbers_that_lie_about_the_order_are_not_believed(headers: Headers) -> None:
    expected = [frame.source for frame in stack(headers).frames]
    set_all(headers, "InstanceNumber", [5, 3, 8, 1, 2, 7, 4, 6])
    set_all(headers, "SliceLocation", [0.0] * 8)
    set_all(headers, "SpacingBetweenSlices", [99.0] * 8)
    assert [frame.source for frame in stack(headers).frames] == expected


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("through_json", [False, True], ids=["files", "DICOMweb metadata"])
def test_what_is_no_volume_is_refused_with_its_reason(headers: Headers, name: str, through_json: bool) -> None:
    break_it, sentence = REFUSED[name]
    assert why_not(headers) is None
    broken = break_it(headers)
    if through_json:
        broken = [Dataset.from_json(header.to_json_dict()) for header in broken]
    with pytest.raises(StudyError, match=sentence) as refusal:
        stack(broken)
    assert why_not(broken) == str(refusal.value)
    assert headers[0].SeriesInstanceUID in str(refusal.value)
    assert "Doe" not in str(refusal.value)


@pytest.mark.parametrize("keyword", PHASES)
def test_phases_are_refused_by_the_attribute_that_differs(headers: Headers, keyword: str) -> None:
    with pytest.raises(StudyError, match=f"2 volumes lie in it under one SeriesInstanceUID: {keyword} .* differs"):
        stack(twice(headers, keyword, PHASES[keyword]))


def test_dates_and_times_are_named_without_their_values(headers: Headers) -> None:
    sentence = why_not(twice(headers, "AcquisitionDateTime", ("20240102030405", "20240102030406")))
    assert "AcquisitionDateTime differs" in str(sentence)
    assert "2024" not in str(sentence)


def test_an_instance_that_came_twice_counts_once(headers: Headers) -> None:
    found = stack([*headers, headers[2]])
    assert found.shape == SHAPE
    assert "twice" in found.notes[0]


def test_small_unevenness_is_taken_as_even_and_noted(headers: Headers) -> None:
    assert stack(headers).notes == []
    found = stack(moved(headers, lambda z: 0.1 * (z == 3) * normal_of(headers)))
    assert "vary from 2.400 to 2.600 mm" in found.notes[0]


def test_anonymised_files_without_series_are_one_series(headers: Headers) -> None:
    found = stack(set_all(headers, "SeriesInstanceUID", [""] * 8))
    assert found.uid == ""
    assert "no SeriesInstanceUID" in found.notes[0]


def test_nothing_is_no_series() -> None:
    assert "no files" in str(why_not([]))
