"""What label objects refer to, and which of the project's classes their segments are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from lib.dicom.label import Canvas, Segment, check_space, class_values, referenced_series
from lib.errors import StudyError


def item(**attributes: Any) -> Dataset:
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def series_item(uid: str, instances: int) -> Dataset:
    return item(SeriesInstanceUID=uid, ReferencedInstanceSequence=[Dataset()] * instances)


def test_referenced_series_of_a_segmentation_is_the_one_with_most_instances() -> None:
    assert referenced_series(item(ReferencedSeriesSequence=[series_item("1.2", 1), series_item("1.3", 5)])) == "1.3"
    assert referenced_series(item(ReferencedSeriesSequence=[item(SeriesInstanceUID="1.2")])) == "1.2"


def test_referenced_series_may_stand_with_another_study_or_below_the_frame_of_reference() -> None:
    study = item(ReferencedSeriesSequence=[series_item("1.4", 2)])
    assert referenced_series(item(StudiesContainingOtherReferencedInstancesSequence=[study])) == "1.4"
    study = item(RTReferencedSeriesSequence=[item(SeriesInstanceUID="1.5", ContourImageSequence=[Dataset()])])
    assert (
        referenced_series(item(ReferencedFrameOfReferenceSequence=[item(RTReferencedStudySequence=[study])])) == "1.5"
    )


def test_an_object_may_refer_to_nothing() -> None:
    assert referenced_series(Dataset()) is None
    assert referenced_series(item(ReferencedSeriesSequence=[Dataset()])) is None


def test_the_frame_of_reference_decides_also_where_the_reference_is_gone() -> None:
    check_space(Dataset(), "2.1", "1.9", "2.1")
    refers = item(ReferencedSeriesSequence=[series_item("1.9", 3)], Modality="SEG", SeriesInstanceUID="7.7")
    with pytest.raises(StudyError, match=r"1\.9.*SEG in the series 7\.7.*another frame of reference"):
        check_space(refers, "2.2", "1.9", "2.1")


@pytest.mark.parametrize(("own", "image"), [("", "2.1"), ("2.1", ""), ("", "")])
def test_without_a_frame_of_reference_it_must_refer_to_the_series(own: str, image: str) -> None:
    check_space(item(ReferencedSeriesSequence=[series_item("1.9", 3)]), own, "1.9", image)
    with pytest.raises(StudyError, match="neither"):
        check_space(item(ReferencedSeriesSequence=[series_item("1.8", 3)]), own, "1.9", image)


def test_classes_are_found_by_name_whatever_the_spelling() -> None:
    segments = [Segment(1, "Left Atrium"), Segment(2, "LIVER"), Segment(4, "liver_")]
    numbers, names, notes = class_values("1.9", segments, {"liver": 3, "left_atrium": 7, "spleen": 1})
    assert numbers == {1: 7, 2: 3, 4: 3}
    assert names == {7: "left_atrium", 3: "liver"}
    assert notes == []


def test_classes_are_found_by_their_term_where_just_one_class_has_it() -> None:
    old = Code("T-62000", "SRT", "Liver")  # SNOMED RT, as older programs write
    segments = [Segment(1, "Segment 1", old), Segment(2, "Segment 2", codes.SCT.Kidney)]
    numbers, names, notes = class_values("1.9", segments, {"liver": 1, "left kidney": 2, "right kidney": 3})
    assert numbers == {1: 1, 2: 4}, "either kidney has the term"
    assert names == {1: "liver", 4: "Segment 2"}
    assert len(notes) == 1
    assert "'Segment 1'" in notes[0]
    numbers, _, _ = class_values("1.9", [Segment(1, "cortex", codes.SCT.Kidney), Segment(2, "kidney")], {"kidney": 1})
    assert numbers == {1: 2, 2: 1}, "another segment has the class's name"
    numbers, _, _ = class_values("1.9", [Segment(1, "a", codes.SCT.Tissue)], {"b": 1})
    assert numbers == {1: 2}, "tissue says nothing"


def test_unknown_segments_get_values_that_no_class_has() -> None:
    numbers, names, _ = class_values("1.9", [Segment(1, "x"), Segment(2, "y"), Segment(3, "X ")], {"a": 2})
    assert numbers == {1: 1, 2: 3, 3: 1}
    assert names == {1: "x", 3: "y"}


def test_more_classes_than_values_are_refused() -> None:
    segments = [Segment(number, f"s{number}") for number in range(1, 257)]
    with pytest.raises(StudyError, match="255"):
        class_values("1.9", segments, {})


def test_what_is_painted_later_lies_on_top_and_overlaps_are_told() -> None:
    canvas = Canvas((2, 1, 3))
    canvas.paint(1, np.array([[1, 1, 0]], dtype=np.uint8))
    assert canvas.notes() == []
    canvas.paint(1, np.array([[0, 2, 2]], dtype=np.uint8))
    np.testing.assert_array_equal(canvas.array, [[[0, 0, 0]], [[1, 2, 2]]])
    assert "1 voxels" in canvas.notes()[0]
