from __future__ import annotations

import numpy as np
from pydicom import Dataset
from pydicom.sequence import Sequence

from lib.dicom.frames import frames_of


def group(**sequences: dict[str, object]) -> Dataset:
    """A functional group: sequences of one item each."""
    found = Dataset()
    for name, attributes in sequences.items():
        item = Dataset()
        item.update(attributes)
        setattr(found, name, Sequence([item]))
    return found


def multi_frame() -> Dataset:
    header = Dataset()
    header.SOPInstanceUID, header.NumberOfFrames, header.EchoTime, header.RescaleSlope = "1.2", 2, 7, 3
    header.SharedFunctionalGroupsSequence = Sequence(
        [
            group(
                PixelMeasuresSequence={"PixelSpacing": [1, 2]},
                PlanePositionSequence={"ImagePositionPatient": [9, 9, 9]},
            )
        ]
    )
    header.PerFrameFunctionalGroupsSequence = Sequence(
        [
            group(PlanePositionSequence={"ImagePositionPatient": [0, 0, z]}, MREchoSequence={"EffectiveEchoTime": z})
            for z in (4, 5)
        ]
    )
    return header


def test_what_describes_a_frame_is_looked_up_nearest_first() -> None:
    first, second = frames_of([multi_frame()])
    assert [first.number, second.number] == [0, 1]
    assert [list(frame.get("ImagePositionPatient")) for frame in (first, second)] == [[0, 0, 4], [0, 0, 5]]
    assert second.get("EffectiveEchoTime") == 5  # per frame
    assert list(second.get("PixelSpacing")) == [1, 2]  # shared
    assert second.get("EchoTime") == 7  # of the object
    assert second.get("TriggerTime") is None


def test_what_is_empty_is_not_there() -> None:
    header = Dataset()
    header.ImageType, header.EchoTime, header.PatientName, header.ImagePositionPatient = [], None, "", [1, 2, 3]
    (frame,) = frames_of([header])
    assert [frame.get(keyword) for keyword in ("ImageType", "EchoTime", "PatientName")] == [None] * 3
    assert frame.numbers("EchoTime", 1) is None
    assert frame.numbers("ImagePositionPatient", 2) is None
    assert np.array_equal(frame.numbers("ImagePositionPatient", 3), [1, 2, 3])
    assert frame.rescale() == (1, 0)


def test_an_instance_counts_once_and_one_uid_for_all_does_not_hide_them() -> None:
    headers = [Dataset() for _ in range(3)]
    for header, z in zip(headers, (0, 1, 1), strict=True):
        header.SOPInstanceUID, header.ImagePositionPatient = "1.2", [0, 0, z]
    assert [frame.source for frame in frames_of(headers)] == [0, 1]
    for header in headers:
        del header.SOPInstanceUID
    assert len(frames_of(headers)) == 3


def test_frames_without_functional_groups_share_the_place_of_the_first() -> None:
    assert not any(frame.shares_its_place for frame in frames_of([multi_frame()]))
    header = Dataset()
    header.NumberOfFrames = 2
    assert [frame.shares_its_place for frame in frames_of([header])] == [False, True]
