"""The phantoms are reproducible, have both classes, and cannot be solved by a threshold."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.ndimage import binary_dilation, binary_erosion

from lib.studies.cases import find_cases
from lib.studies.phantoms import LABELS, phantom, smooth_field, write_studies

TINY = (32, 32, 24)


def test_the_same_seed_gives_the_same_bytes() -> None:
    image, label = phantom(7, TINY)
    again, same = phantom(7, TINY)
    assert image.tobytes() == again.tobytes()
    assert label.tobytes() == same.tobytes()
    assert not np.array_equal(image, phantom(8, TINY)[0])


@pytest.mark.parametrize("shape", [TINY, (24, 40, 16), (64, 64, 40)])
def test_every_study_has_both_classes(shape: tuple[int, int, int]) -> None:
    for seed in range(10):
        image, label = phantom(seed, shape)
        assert image.shape == label.shape == shape
        assert (image.dtype, label.dtype) == (np.float32, np.uint8)
        assert np.isfinite(image).all()
        assert image.min() >= 0
        assert set(np.unique(label)) == {0, *LABELS.values()}, f"seed {seed}"


def test_one_slice_is_a_study_too() -> None:
    image, label = phantom(0, (32, 32, 1))
    assert image.shape == (32, 32, 1)
    assert (label > 0).any()


def test_the_lesion_lies_in_the_organ() -> None:
    """It may reach the organ's surface, but what surrounds it is organ for the greater part."""
    for seed in range(10):
        label = phantom(seed, TINY)[1]
        around = binary_dilation(label == 2) & (label != 2)
        assert (label[around] == 1).mean() > 0.6, f"seed {seed}"


def test_no_range_of_intensities_finds_the_organ() -> None:
    """Even without noise and bias, and with the best thresholds for each study, the distractors remain."""
    best = [_best_threshold_dice(*phantom(seed, bias=0, noise=0)) for seed in range(6)]
    assert np.mean(best) < 0.75
    without = [_best_threshold_dice(*phantom(seed, bias=0, noise=0, distractors=0)) for seed in range(6)]
    assert np.mean(best) < np.mean(without)


def _best_threshold_dice(image: np.ndarray, label: np.ndarray) -> float:
    organ = label == 1
    levels = np.quantile(image[organ], (0, 0.02, 0.1, 0.3, 0.7, 0.9, 0.98, 1))
    found = [(image >= low) & (image <= high) for low in levels[:4] for high in levels[4:]]
    return max(2 * (mask & organ).sum() / (mask.sum() + organ.sum()) for mask in found)


def test_contrast_changes_between_studies_only_if_asked_for() -> None:
    def lesion_to_organ(contrast: float) -> list[float]:
        studies = (phantom(seed, contrast=contrast, bias=0, noise=0) for seed in range(5))
        return [float(np.median(image[label == 2]) / np.median(image[label == 1])) for image, label in studies]

    assert np.std(lesion_to_organ(0.0)) < 1e-3
    assert np.std(lesion_to_organ(1.0)) > 0.1


def test_border_voxels_mix_both_tissues() -> None:
    image, label = phantom(0, bias=0, noise=0)
    organ, lesion = (np.median(image[binary_erosion(label == value)]) for value in (1, 2))
    border = image[binary_dilation(label == 2) & binary_erosion(label > 0, iterations=2)]
    assert border.min() >= lesion - 1e-3
    assert border.max() <= organ + 1e-3
    between = (border > lesion + 0.1 * (organ - lesion)) & (border < organ - 0.1 * (organ - lesion))
    assert between.mean() > 0.2


def test_noise_is_rician() -> None:
    """Where there is next to no signal the magnitude follows Rayleigh: mean / sd = sqrt(pi / (4 - pi)) = 1.913."""
    air = phantom(0, bias=0, noise=0.3)[0][:6, :6]
    assert air.mean() / air.std() == pytest.approx(np.sqrt(np.pi / (4 - np.pi)), abs=0.06)


def test_the_bias_field_varies_slowly() -> None:
    field = smooth_field(np.random.default_rng(0), (64, 48, 32))
    assert field.shape == (64, 48, 32)
    assert field.mean() == pytest.approx(0, abs=1e-3)
    assert field.std() == pytest.approx(1, abs=1e-3)
    assert max(np.abs(np.diff(field, axis=axis)).max() for axis in range(3)) < 0.5


def test_a_written_folder_is_a_studies_folder(tmp_path: Path) -> None:
    ids = write_studies(tmp_path, 3, labelled=2, shape=TINY, spacing=(1.0, 1.5, 2.0))
    cases = find_cases(tmp_path)
    assert [case.id for case in cases] == ids == ["phantom_000", "phantom_001", "phantom_002"]
    assert [case.label is not None for case in cases] == [True, True, False]
    assert json.loads((tmp_path / "dataset.json").read_text())["labels"] == LABELS
    image, label = (nib.load(path) for path in (cases[0].image, cases[0].label))
    np.testing.assert_array_equal(image.affine, label.affine)
    assert image.header.get_zooms() == pytest.approx((1.0, 1.5, 2.0))
    assert nib.aff2axcodes(image.affine) == ("L", "P", "S")
    assert np.count_nonzero(np.abs(image.affine[:3, :3]) > 1e-3) > 3, "the grid is oblique"
    np.testing.assert_array_equal(np.asanyarray(label.dataobj), phantom((0, 0), TINY, (1.0, 1.5, 2.0))[1])
    assert sitk.ReadImage(str(cases[0].image)).GetSize() == TINY  # refuses axes that are not at right angles


def test_a_study_is_the_same_whatever_is_written_with_it(tmp_path: Path) -> None:
    write_studies(tmp_path / "all", 3, labelled=3, seed=5, shape=TINY)
    write_studies(tmp_path / "last", 1, labelled=1, seed=5, first=2, shape=TINY)
    for name in ("phantom_002.nii.gz", "labels/final/phantom_002.nii.gz"):
        assert (tmp_path / "all" / name).read_bytes() == (tmp_path / "last" / name).read_bytes()
    assert [case.id for case in find_cases(tmp_path / "last")] == ["phantom_002"]
