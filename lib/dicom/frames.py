"""The images of a series one by one, whether each has a file of its own or one file holds them all.

An enhanced or legacy converted multi-frame object keeps what describes a frame in functional groups (DICOM PS3.3
C.7.6.16): sequences of one item each, per frame where it changes and shared where it does not. :class:`Frame` looks an
attribute up there first and in the object's main part last, so that the rules on geometry need not know the difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from lib.dicom.bounded import frame_count


@dataclass(frozen=True)
class Frame:
    """One image of a series.

    Attributes:
        header: the data set it is in; pixels are not needed.
        source: place of the header in the list it came from.
        number: place of the frame in its header, from 0; always 0 in a single-frame object.
    """

    header: Dataset
    source: int
    number: int

    def get(self, keyword: str) -> Any:
        """The value of an attribute for this frame; None if it is not there or empty."""
        for group in self._groups():
            for element in group:
                if element.VR == "SQ" and element.value and keyword in element.value[0]:
                    return _filled(element.value[0].get(keyword))
        return _filled(self.header.get(keyword))

    def numbers(self, keyword: str, count: int) -> NDArray[np.float64] | None:
        """The numbers of an attribute, ``(count,)``; None if they are missing, fewer, more, or not finite."""
        try:
            values = np.array(self.get(keyword), dtype=np.float64).reshape(-1)
        except (TypeError, ValueError):
            return None
        return values if values.size == count and np.isfinite(values).all() else None

    @property
    def shares_its_place(self) -> bool:
        """Is it one of several frames without functional groups (NM, US, XA), which have no places of their own?"""
        return self.number > 0 and not self.header.get("PerFrameFunctionalGroupsSequence")

    def rescale(self) -> tuple[float, float]:
        """RescaleSlope and RescaleIntercept, 1 and 0 where there are none."""
        slope, intercept = self.numbers("RescaleSlope", 1), self.numbers("RescaleIntercept", 1)
        return (1.0 if slope is None else float(slope[0])), (0.0 if intercept is None else float(intercept[0]))

    def _groups(self) -> Iterator[Dataset]:
        per_frame = self.header.get("PerFrameFunctionalGroupsSequence")
        if per_frame and self.number < len(per_frame):
            yield per_frame[self.number]
        shared = self.header.get("SharedFunctionalGroupsSequence")
        if shared:
            yield shared[0]


def frames_of(headers: Sequence[Dataset]) -> list[Frame]:
    """All frames of all data sets, in the order given. An instance that is given twice counts once."""
    frames, seen = [], set()
    for source, header in enumerate(headers):
        # the position is part of the key: anonymisers have been seen to give all instances one UID
        key = (header.get("SOPInstanceUID"), str(header.get("ImagePositionPatient")))
        if key[0] and key in seen:
            continue
        seen.add(key)
        frames += [Frame(header, source, number) for number in range(frame_count(header))]
    return frames


def _filled(value: Any) -> Any:
    return None if isinstance(value, Sized) and len(value) == 0 else value
