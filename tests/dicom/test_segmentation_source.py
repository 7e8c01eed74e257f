"""Images as a segmentation refers to them: geometry completed, nothing of the patient."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib.dicom.segmentation_source import PATIENT_AND_STUDY, frame_of_reference, is_multiframe, source_images
from lib.dicom.stack import stack
from tests.dicom.label_phantoms import make_series


def test_slice_distance_is_that_of_the_positions_and_the_patient_stays_out(tmp_path: Path) -> None:
    headers = make_series(tmp_path, "oblique").headers
    for header in headers:
        header.SpacingBetweenSlices, header.SliceThickness = 99, None
    found = stack(headers)
    sources = source_images(found)
    assert not is_multiframe(found)
    assert len(sources) == len(headers)
    for source, header in zip(sources, headers, strict=True):
        assert float(source.SpacingBetweenSlices) == float(source.SliceThickness) == pytest.approx(3.0, abs=1e-3)
        assert source.SOPInstanceUID == header.SOPInstanceUID
        assert all(source[keyword].value is None for keyword in PATIENT_AND_STUDY)
    assert headers[0].SpacingBetweenSlices == 99, "the headers stay as they are"


def test_a_series_without_a_frame_of_reference_has_one_of_its_own(tmp_path: Path) -> None:
    header = make_series(tmp_path).headers[0]
    given = header.FrameOfReferenceUID
    assert frame_of_reference(header) == given
    del header.FrameOfReferenceUID
    own = frame_of_reference(header)
    assert own == frame_of_reference(header) != given
    header.SeriesInstanceUID = "1.2.3"
    assert frame_of_reference(header) != own
