"""The picture shows the slice in doubt, is made once, and keeps within its bytes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from lib.errors import BusyError, StudyError
from lib.inference.segmenter import Segmentation
from lib.page.pictures import Pictures, draw, most_uncertain

SHAPE, LEVEL = (20, 30, 8), 5


class Plan:
    flat_axis = None


class Doubtful:
    """A segmenter that is in doubt in one corner of one slice, the patient's right and front."""

    plan, checksum = Plan(), "abc"

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, image: Path, uncertainty: bool = False) -> Segmentation:
        self.asked += 1
        doubt = np.zeros(SHAPE, np.float32)
        doubt[15:, 20:, LEVEL] = 1
        doubt[0, 0, 2] = 1
        return Segmentation(np.zeros(SHAPE, np.uint8), doubt, np.diag([2.0, 1.0, 3.0, 1.0]), {}, "0001")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """In RAS, 2 x 1 x 3 mm; each slice has one grey value."""
    array = np.broadcast_to(np.arange(SHAPE[2]), SHAPE).astype(np.float32)
    nib.save(nib.Nifti1Image(array, np.diag([2.0, 1.0, 3.0, 1.0])), tmp_path / "image.nii.gz")
    return tmp_path / "image.nii.gz"


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def test_the_slice_with_most_doubt_is_drawn_upright_in_its_proportions(image: Path) -> None:
    segmenter: Any = Doubtful()
    plain, doubt = (pixels(png) for png in draw(segmenter, image))
    assert plain.shape == doubt.shape == (240, 320, 3), "40 mm wide, 30 mm high"
    assert np.ptp(plain) == 0, "one slice, one grey value"
    height, width = plain.shape[:2]
    changed = np.abs(doubt - plain).sum(-1) > 60
    assert changed[: height // 4, : width // 8].all(), "the patient's right is on the left, the front above"
    assert not changed[height // 2 :].any()
    assert not changed[:, width // 2 :].any()


def test_most_doubt_is_by_the_whole_slice_not_one_voxel() -> None:
    doubt = np.zeros((4, 4, 3))
    doubt[0, 0, 0], doubt[:, :, 2] = 1, 0.2
    assert most_uncertain(doubt) == 2


def test_both_pictures_are_made_in_one_inference_and_kept(tmp_path: Path, image: Path) -> None:
    segmenter: Any = Doubtful()
    pictures = Pictures(tmp_path / "pictures")
    assert pictures.kept("a", "abc", False) is None
    plain = pictures.make(segmenter, "a", image, False)
    assert pictures.kept("a", "abc", False) == plain
    assert pictures.make(segmenter, "a", image, True) == pictures.kept("a", "abc", True) != plain
    assert segmenter.asked == 1
    assert pictures.kept("a", "another model", False) is None
    assert pictures.kept("../a", "abc", False) is None


def test_the_oldest_pictures_go_when_the_bytes_are_used(tmp_path: Path, image: Path) -> None:
    segmenter: Any = Doubtful()
    pictures = Pictures(tmp_path / "pictures")
    pictures.make(segmenter, "a", image, False)
    pictures.budget = sum(file.stat().st_size for file in pictures.folder.glob("*.png"))
    pictures.make(segmenter, "b", image, False)
    assert pictures.kept("b", "abc", True)
    assert pictures.kept("a", "abc", True) is None


def test_one_picture_at_a_time_and_a_failure_frees_the_place(tmp_path: Path, image: Path) -> None:
    pictures = Pictures(tmp_path / "pictures")

    class Nested(Doubtful):
        def __call__(self, image: Path, uncertainty: bool = False) -> Segmentation:
            with pytest.raises(BusyError, match="ask again"):
                pictures.make(segmenter, "b", image, False)
            raise StudyError("a", "it cannot be read")

    segmenter: Any = Nested()
    for _ in range(2):
        with pytest.raises(StudyError):
            pictures.make(segmenter, "a", image, False)
