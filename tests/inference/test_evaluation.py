"""A model of known faults against phantom labels."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from lib.errors import StudyError
from lib.inference.evaluation import Evaluation, evaluate, summary
from lib.studies.cases import Case, find_cases
from lib.studies.labels import LabelMap

NAMES = LabelMap({2: "ball", 5: "cube"})  # the values in the files; as classes they are 1 and 2
SPACING = (2.0, 1.0, 3.0)


def write_label(file: Path, ball: int | None, cube: int | None, shape: tuple[int, ...] = (24, 12, 12)) -> np.ndarray:
    """Two boxes of 4 x 4 x 4 voxels that begin at the given places along X; None leaves one out."""
    label = np.zeros(shape, np.uint8)
    for value, start, y in ((2, ball, 1), (5, cube, 7)):
        if start is not None:
            label[start : start + 4, y : y + 4, 4:8] = value
    file.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(label, np.diag([*SPACING, 1])), file)
    return label


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    """Three labelled studies: a, b and one (c) whose label is of another shape. The "image" is the prediction."""
    for name, truth, answer in (("a", (2, 2), (2, 4)), ("b", (2, None), (None, None)), ("c", (2, 2), (2, 2))):
        shape = (24, 12, 12) if name != "c" else (23, 12, 12)
        write_label(tmp_path / "labels" / "final" / f"{name}.nii.gz", *truth, shape)
        write_label(tmp_path / f"{name}.nii.gz", *answer)
    return find_cases(tmp_path)


def answer(image: Path) -> SimpleNamespace:
    """A segmenter whose answer is written in the image itself."""
    stored = nib.load(image)
    return SimpleNamespace(label=np.asarray(stored.dataobj), affine=stored.affine)


def test_each_study_is_compared_class_by_class_in_mm(cases: list[Case]) -> None:
    told: list[tuple[int, int]] = []
    (a, b), skipped = evaluate(answer, cases, NAMES, lambda *count: told.append(count))
    # a: the cube is 2 of 4 voxels off along X, 2 mm each: half overlaps. b: the ball is missed, no cube is right.
    assert a.dice == {"ball": 1.0, "cube": 0.5}
    assert a.hd95 == {"ball": 0.0, "cube": pytest.approx(4.0)}
    assert b.dice == {"ball": 0.0, "cube": 1.0}
    assert math.isnan(b.hd95["ball"])
    assert b.hd95["cube"] == 0.0
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert list(skipped) == ["c"]
    assert "shape" in skipped["c"]


def test_means_leave_misses_out_and_count_them(cases: list[Case]) -> None:
    means = summary(evaluate(answer, cases, NAMES)[0])
    assert means["studies"] == 2
    assert means["dice"] == {"classes": {"ball": 0.5, "cube": 0.75}, "mean": 0.625}
    assert means["hd95"] == {"classes": {"ball": 0.0, "cube": pytest.approx(2.0)}, "mean": pytest.approx(4 / 3)}
    assert means["missed"] == 1
    assert means["seconds"] > 0


def test_what_has_no_value_is_null_in_json() -> None:
    missed = Evaluation("a", {"ball": 0.0}, {"ball": math.nan}, 1.0)
    text = json.dumps([missed.to_dict(), summary([missed]), summary([])], allow_nan=False)
    one, mean, empty = json.loads(text)
    assert one["hd95"] == {"ball": None}
    assert mean["hd95"] == {"classes": {"ball": None}, "mean": None}
    assert empty["dice"] == {"classes": {}, "mean": None}


def test_a_study_the_model_cannot_read_is_named_and_does_not_end_the_rest(cases: list[Case]) -> None:
    def fails_on_a(image: Path) -> SimpleNamespace:
        if image.name.startswith("a"):
            raise StudyError("a", "it is broken")
        return answer(image)

    done, skipped = evaluate(fails_on_a, cases[:2], NAMES)
    assert [each.id for each in done] == ["b"]
    assert skipped == {"a": "Study 'a': it is broken."}
