"""The images a segmentation refers to, brought into the one shape that highdicom takes, from headers of every kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pydicom.valuerep import DSfloat

from lib.dicom.frames import Frame
from lib.dicom.stack import Stack

INSTANCE = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "Rows", "Columns")
PLANE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
LOSSY = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
PATIENT_AND_STUDY = (  # highdicom asks for them; the writer copies them as they are, valid or not
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
)


def source_images(stack: Stack) -> list[Dataset]:
    """What a segmentation needs of its images, and nothing of the patient.

    Headers differ where they may: a multi-frame object holds the plane of a frame once for all or for each,
    SliceThickness may be missing, SpacingBetweenSlices wrong, FrameOfReferenceUID absent. Here the spacing is the
    distance of the planes.

    Returns:
        For one multi-frame object a dataset, with its frames in the object's order; else one a slice, in the order of
        the stack. (highdicom refers to no frames of several multi-frame objects; of these the instances are named.)
    """
    spacing = DSfloat(float(np.linalg.norm(stack.affine[:3, 2])), auto_format=True)
    if is_multiframe(stack):
        return [_multiframe(sorted(stack.frames, key=lambda frame: frame.number), spacing)]
    sources = []
    for frame in stack.frames:
        source = _instance(frame.header)
        source.update(_item(**{keyword: frame.get(keyword) for keyword in PLANE}))
        source.SliceThickness, source.SpacingBetweenSlices = frame.get("SliceThickness") or spacing, spacing
        sources.append(source)
    return sources


def is_multiframe(stack: Stack) -> bool:
    """Are its slices the frames of one object?"""
    return all(frame.source == stack.frames[0].source for frame in stack.frames)


def frame_of_reference(header: Dataset) -> str:
    """The image's FrameOfReferenceUID; of an image without, one made of its series: its patient space is its own."""
    return str(
        header.get("FrameOfReferenceUID") or generate_uid(entropy_srcs=["semiseg", str(header.SeriesInstanceUID)])
    )


def _instance(header: Dataset) -> Dataset:
    keywords = (*INSTANCE, *(LOSSY if all(keyword in header for keyword in LOSSY) else ()))
    source = _item(**{keyword: header[keyword].value for keyword in keywords})
    source.FrameOfReferenceUID = frame_of_reference(header)
    for keyword in PATIENT_AND_STUDY:
        setattr(source, keyword, None)
    return source


def _multiframe(frames: Sequence[Frame], spacing: DSfloat) -> Dataset:
    first = frames[0]
    source = _instance(first.header)
    source.NumberOfFrames = len(frames)
    measures = _item(
        PixelSpacing=first.get("PixelSpacing"),
        SliceThickness=first.get("SliceThickness") or spacing,
        SpacingBetweenSlices=spacing,
    )
    orientation = _item(ImageOrientationPatient=first.get("ImageOrientationPatient"))
    shared = _item(PixelMeasuresSequence=[measures], PlaneOrientationSequence=[orientation])
    source.SharedFunctionalGroupsSequence = [shared]
    source.PerFrameFunctionalGroupsSequence = [
        _item(PlanePositionSequence=[_item(ImagePositionPatient=frame.get("ImagePositionPatient"))]) for frame in frames
    ]
    return source


def _item(**attributes: Any) -> Dataset:
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item
