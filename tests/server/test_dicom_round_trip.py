"""A submitted label, as SEG on an Orthanc, read by a datastore that has never seen it, is the same voxel for voxel."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lib.config import Config
from lib.dicom.phantom_series import write_series
from lib.dicom.web import DicomWeb
from lib.server.dicom_datastore import DicomDatastore
from tests.dicom.label_phantoms import AXES, NAMES, SHAPE, affine_of, make_label
from tests.dicom.orthanc import Orthanc


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 1.3, 5.0)], ids=["isotropic", "anisotropic"])
@pytest.mark.parametrize("axes", AXES)
def test_a_fresh_datastore_reads_the_label_that_was_submitted(
    axes: str, spacing: tuple[float, float, float], server: Orthanc, web: DicomWeb, tmp_path: Path
) -> None:
    values = np.random.default_rng(0).integers(0, 1000, SHAPE).astype(np.int16)
    affine = affine_of(AXES[axes], spacing)
    server.upload(write_series(values, affine, tmp_path / "series"))
    config = Config(labels=tuple(f"{name}={value}" for value, name in NAMES.items()))
    first, fresh = (DicomDatastore(web, config, tmp_path / name) for name in ("first", "fresh"))
    (study,) = first.list_images()
    image = nib.load(first.get_image_uri(study))
    same_in_space(image, nib.Nifti1Image(values, affine))  # slices may be counted from the other end

    label = make_label()
    nib.save(nib.Nifti1Image(label, image.affine), tmp_path / "label.nii.gz")
    first.save_label(study, str(tmp_path / "label.nii.gz"), "final", {})
    (found,) = fresh.get_labeled_images()
    back = nib.load(fresh.get_label_uri(found, "final"))
    np.testing.assert_array_equal(np.asarray(back.dataobj), label)
    np.testing.assert_allclose(back.affine, image.affine, atol=1e-6)
    assert {item["idx"]: item["name"] for item in fresh.get_label_info(found, "final")["label_info"]} == NAMES


def same_in_space(first: nib.Nifti1Image, second: nib.Nifti1Image) -> None:
    """Both have the same values at the same places, in whatever order of the voxels."""
    one, other = nib.as_closest_canonical(first), nib.as_closest_canonical(second)
    np.testing.assert_array_equal(np.asarray(one.dataobj), np.asarray(other.dataobj))
    np.testing.assert_allclose(one.affine, other.affine, atol=1e-3)
