"""A training in dimension 2, from files to a label on the image's own grid."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from lib.inference.evaluation import evaluate
from lib.inference.segmenter import Segmenter
from lib.selection.score import score_case
from lib.studies.cases import find_cases
from lib.studies.labels import label_map
from lib.studies.phantom_pictures import write_pictures
from lib.studies.phantoms import write_studies
from lib.training.model_folder import ModelFolder
from lib.training.train import Result, train


def trained(studies: Path, config: Any) -> tuple[Result, Segmenter]:
    folder = ModelFolder(studies.parent / "model")
    cases = find_cases(studies)
    result = train(cases, label_map(config, studies, cases), config, folder)
    assert folder.live is not None
    return result, Segmenter.load(folder.live, "cpu")


def settings(project: Any, **changes: Any) -> Any:
    return project.config(**{"patch": (), "iterations": 2, "validations": 1, "method": "cross_pseudo"} | changes)


@pytest.mark.parametrize("axis", [0, 2])
def test_thick_slices_are_learnt_from_and_labelled_as_a_volume(project: Any, tmp_path: Path, axis: int) -> None:
    shape, spacing = [24, 24, 24], [3.0, 3.0, 3.0]
    shape[axis], spacing[axis] = 5, 15.0
    write_studies(tmp_path / "stacks", 5, 4, shape=tuple(shape), spacing=tuple(spacing))
    result, segmenter = trained(tmp_path / "stacks", settings(project))
    assert (segmenter.plan.dimension, segmenter.plan.flat_axis) == (2, axis)
    manifest = json.loads(result.manifest.read_text())
    assert manifest["batch"] == [8, 8]
    assert sum(manifest["uses"].values()) == 2 * 16
    image = tmp_path / "stacks" / "phantom_004.nii.gz"
    found = segmenter(image, uncertainty=True)
    assert found.label.shape == nib.load(image).shape
    assert found.uncertainty is not None
    assert found.uncertainty.shape == found.label.shape
    np.testing.assert_allclose(found.affine, nib.load(image).affine, atol=1e-5)
    assert 0 <= score_case(segmenter.predict(image)).score <= 1
    done, skipped = evaluate(segmenter, find_cases(tmp_path / "stacks")[:4], segmenter.labels)
    assert (len(done), skipped) == (4, {})


def test_a_second_training_goes_on_from_the_first(project: Any, tmp_path: Path) -> None:
    write_studies(tmp_path / "stacks", 5, 4, shape=(24, 24, 5), spacing=(3.0, 3.0, 15.0))
    trained(tmp_path / "stacks", settings(project))
    result, _ = trained(tmp_path / "stacks", settings(project, patch=(32, 32), seed=1))  # as it was measured
    assert json.loads(result.manifest.read_text())["started_from"] == "0001"
    result, _ = trained(tmp_path / "stacks", settings(project, dimension="3", seed=2, patch=(16, 16, 8)))
    assert json.loads(result.manifest.read_text())["started_from"] is None


@pytest.mark.parametrize("coloured", [True, False])
def test_pictures_are_learnt_from_and_labelled(project: Any, tmp_path: Path, coloured: bool) -> None:
    write_pictures(tmp_path / "pictures", 5, 4, size=(40, 24), coloured=coloured, ending=".jpg")
    result, segmenter = trained(tmp_path / "pictures", settings(project))
    assert (segmenter.plan.modality, segmenter.plan.channels) == ("picture", 3 if coloured else 1)
    assert result.version == "0001"
    found = segmenter(tmp_path / "pictures" / "picture_004.jpg", uncertainty=True)
    assert found.label.shape == (40, 24, 1)
    done, _ = evaluate(segmenter, find_cases(tmp_path / "pictures")[:4], segmenter.labels)
    assert len(done) == 4


def test_pictures_of_every_kind_are_trained_on_together(
    project: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """RGBA, palette, 16 bits, CMYK, another size and a colour among grey; a label in RGB and one in JPEG."""
    folder = tmp_path / "pictures"
    write_pictures(folder, 9, 6, size=(40, 24), coloured=False)
    for number, mode in ((1, "RGBA"), (2, "P"), (3, "RGB")):
        with Image.open(folder / f"picture_00{number}.png") as image:
            image.convert(mode).save(folder / f"picture_00{number}.png")
    with Image.open(folder / "picture_006.png") as image:
        deep = np.asarray(image).astype(np.uint16) * 257
        Image.fromarray(deep).save(folder / "picture_006.png")
        image.resize((31, 57)).save(folder / "picture_007.png")
        image.convert("CMYK").save(folder / "picture_008.jpg")
    (folder / "picture_008.png").unlink()
    finals = folder / "labels" / "final"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 40, 3), dtype=np.uint8)).save(
        finals / "picture_004.png"
    )
    (finals / "picture_005.png").unlink()
    Image.fromarray(np.ones((24, 40), np.uint8)).save(finals / "picture_005.jpg")
    with caplog.at_level(logging.WARNING):
        result, segmenter = trained(folder, settings(project, validation=0.0))
    manifest = json.loads(result.manifest.read_text())
    assert set(manifest["skipped"]) == {"picture_004", "picture_005"}
    assert "grey values" in manifest["skipped"]["picture_004"]
    assert "JPEG" in manifest["skipped"]["picture_005"]
    assert set(manifest["uses"]) == {f"picture_00{number}" for number in (0, 1, 2, 3, 6, 7, 8)}
    for path in sorted(folder.glob("picture_*")):
        with Image.open(path) as image:
            assert segmenter(path).label.shape == (*image.size, 1)
