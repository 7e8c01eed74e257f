"""The label lies on the image's own grid, whatever its orientation, spacing and size.

A threshold on the intensity stands in for the network, so that the right label is known voxel by voxel.
"""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from PIL import Image
from scipy.spatial.transform import Rotation
from torch import Tensor, nn

from lib.config import Config
from lib.errors import ConfigError, StudyError
from lib.inference.metrics import dice
from lib.inference.model_file import Model
from lib.inference.segmenter import Segmenter
from lib.methods.base import Method, Term
from lib.methods.registry import build_method
from lib.studies.labels import LabelMap
from lib.studies.orientation import to_ras
from lib.studies.plan import Plan
from lib.studies.reading import read_volume

SHAPE, SPACING = (26, 20, 14), (1.0, 1.5, 2.5)
LABELS = LabelMap({3: "organ"})


class Threshold(Method):
    """Class 1 where the normalised image is above these levels, one branch a level."""

    def __init__(self, *levels: float) -> None:
        super().__init__()
        self.levels, self.networks = levels, nn.ModuleList()

    def losses(self, batch: dict, progress: float) -> dict[str, Term]:
        raise NotImplementedError

    def predict(self, x: Tensor, modality: int = 0) -> Tensor:
        found = torch.stack([(x > level).float() for level in self.levels])
        return torch.cat([1 - found, found], dim=2)


class FirstChannel(Threshold):
    """A threshold on red, or on grey."""

    def predict(self, x: Tensor, modality: int = 0) -> Tensor:
        return super().predict(x[:, :1])


class Seeing(Threshold):
    """A threshold that remembers the shapes of its windows, ``(C, H, W)``."""

    def __init__(self, *levels: float) -> None:
        super().__init__(*levels)
        self.seen: set[tuple[int, ...]] = set()

    def predict(self, x: Tensor, modality: int = 0) -> Tensor:
        self.seen.add(tuple(x.shape[1:]))
        return super().predict(x)


def affine_of(axes: str, degrees: float = 0.0) -> np.ndarray:
    """An affine whose voxel axes point to these directions, turned by so many degrees about each axis."""
    codes = nib.orientations.axcodes2ornt(axes)
    matrix = np.zeros((3, 3))
    for axis, (place, sign) in enumerate(codes):
        matrix[int(place), axis] = sign * SPACING[axis]
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [degrees] * 3, degrees=True).as_matrix() @ matrix
    affine[:3, 3] = (-31.5, 12.25, 100.0)
    return affine


def write(path: Path, affine: np.ndarray, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """A bright ellipsoid off the centre, in noise far below the contrast; returns which voxels are bright."""
    points = np.stack(np.meshgrid(*[(2 * np.arange(n) + 1) / n - 1 for n in shape], indexing="ij"), axis=-1)
    bright = (((points - (0.3, -0.2, 0.1)) / (0.45, 0.5, 0.6)) ** 2).sum(-1) < 1
    noise = np.random.default_rng(0).normal(0, 10, shape)
    nib.save(nib.Nifti1Image((200 + 800 * bright + noise).astype(np.float32), affine), path)
    return bright


def segmenter(*levels: float, spacing: tuple[float, ...] = SPACING, patch: tuple[int, ...] = (16, 16, 8)) -> Segmenter:
    plan = Plan(spacing, "mr", patch)
    return Segmenter(Threshold(*levels), plan, LABELS, Config(device="cpu", precision="fp32"), version="0007")


@pytest.mark.parametrize("degrees", [0.0, 11.0])
@pytest.mark.parametrize("axes", ["RAS", "LPS", "LPI", "ASL", "PIR", "SLA"])
def test_the_label_is_on_the_images_own_voxels(tmp_path: Path, axes: str, degrees: float) -> None:
    affine = affine_of(axes, degrees)
    bright = write(tmp_path / "study.nii.gz", affine)
    spacing = tuple(to_ras(np.empty(SHAPE), affine)[1])  # as it lies, so that nothing is resampled
    found = segmenter(0.0, spacing=spacing)(tmp_path / "study.nii.gz")
    assert found.label.dtype == np.uint8
    assert np.array_equal(found.label, 3 * bright)
    np.testing.assert_allclose(found.affine, affine, atol=1e-5)


@pytest.mark.parametrize("spacing", [(1.5, 1.5, 1.5), (2.0, 2.0, 2.5), (1.0, 1.0, 5.0), (0.8, 0.8, 2.0)])
@pytest.mark.parametrize("axes", ["RAS", "PIR"])
def test_what_was_resampled_comes_back_to_its_place(tmp_path: Path, axes: str, spacing: tuple[float, ...]) -> None:
    bright = write(tmp_path / "study.nii.gz", affine_of(axes, 11.0))
    share = bright.mean()
    middle = (0.5 - share) / np.sqrt(share * (1 - share))  # of dark and bright, in sd from the mean
    label = segmenter(middle, spacing=spacing)(tmp_path / "study.nii.gz").label
    assert label.shape == SHAPE
    assert dice(label, 3 * bright.astype(np.uint8), [3])[3] > 0.88
    shift = np.argwhere(label == 3).mean(0) - np.argwhere(bright).mean(0)
    assert np.abs(shift).max() < 0.25  # voxels


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("axes", ["RAS", "PIR"])
def test_slices_go_through_one_by_one_and_come_back_in_their_order(tmp_path: Path, axes: str, axis: int) -> None:
    bright = write(tmp_path / "study.nii.gz", affine_of(axes))
    turned, spacing, _ = to_ras(np.empty(SHAPE), affine_of(axes))
    patch = tuple(1 if place == axis else 16 for place in range(3))
    plan = Plan(tuple(spacing), "mr", patch, dimension=2, slice_axis=axis)
    method = Seeing(0.0, 0.0)
    slices = Segmenter(method, plan, LABELS, Config(device="cpu", precision="fp32"))
    found = slices(tmp_path / "study.nii.gz", uncertainty=True)
    assert np.array_equal(found.label, 3 * bright)
    assert found.uncertainty is not None
    assert found.uncertainty.shape == SHAPE
    assert method.seen == {(1, 16, 16)}
    assert slices.predict(tmp_path / "study.nii.gz").shape == (2, 2, *turned.shape)


@pytest.mark.parametrize("size", [(40, 24), (9, 50), (1, 1)])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_label_of_a_picture_is_on_its_pixels(tmp_path: Path, size: tuple[int, int], channels: int) -> None:
    bright = np.zeros((size[1], size[0]), bool)
    bright[3 : size[1] // 2 + 3, 2 : size[0] // 3 + 4] = True
    colours = np.where(bright[..., None], (200, 100, 60), 20).astype(np.uint8)
    Image.fromarray(colours if channels == 3 else colours[..., 0]).save(tmp_path / "study.png")
    plan = Plan((1.0, 1.0, 1.0), "picture", (16, 16, 1), dimension=2, channels=channels)
    found = Segmenter(FirstChannel(0.0), plan, LABELS, Config(device="cpu", precision="fp32"))(tmp_path / "study.png")
    assert found.label.shape == (*size, 1)
    assert np.array_equal(found.label[..., 0].T, 3 * bright)
    for ending in (".png", ".nrrd", ".nii.gz"):
        found.save(tmp_path / f"label{ending}")
        array, affine = read_volume(tmp_path / f"label{ending}")
        assert np.array_equal(array, found.label)
        np.testing.assert_allclose(affine, np.diag([-1.0, -1, 1, 1]), atol=1e-6)
    with Image.open(tmp_path / "label.png") as image:
        assert np.array_equal(np.asarray(image), found.label[..., 0].T)
    for path, values in (
        ("label.jpg", found.label),
        ("label.png", found.label.astype(np.float32)),
        ("label.png", np.zeros((4, 4, 2), np.uint8)),
    ):
        with pytest.raises(ConfigError, match=r"cannot be written.*\.nrrd"):
            found.save(tmp_path / path, values)


@pytest.mark.parametrize("shape", [(6, 5, 4), (30, 24, 1), (3, 40, 9)])
def test_a_study_smaller_than_the_patch_is_padded(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    bright = write(tmp_path / "study.nii.gz", affine_of("RAS"), shape)
    assert bright.any()
    assert np.array_equal(segmenter(0.0)(tmp_path / "study.nii.gz").label, 3 * bright)


def test_the_branches_are_averaged_and_their_disagreement_is_the_uncertainty(tmp_path: Path) -> None:
    bright = write(tmp_path / "study.nii.gz", affine_of("PIR", 11.0))
    spacing = tuple(to_ras(np.empty(SHAPE), affine_of("PIR", 11.0))[1])
    both = segmenter(0.0, -9.0, spacing=spacing)  # the second branch says yes everywhere
    found = both(tmp_path / "study.nii.gz", uncertainty=True)
    assert found.uncertainty is not None
    assert (found.uncertainty.dtype, found.uncertainty.shape) == (np.float32, SHAPE)
    np.testing.assert_allclose(found.uncertainty, ~bright, atol=1e-5)
    three = segmenter(0.0, -9.0, -9.0, spacing=spacing)(tmp_path / "study.nii.gz")
    assert (three.label == 3).all()
    assert three.uncertainty is None


def test_uncertainty_stays_in_its_range_when_it_is_resampled(tmp_path: Path) -> None:
    write(tmp_path / "study.nii.gz", affine_of("LPS"))
    found = segmenter(0.0, 0.5, spacing=(2.0, 2.0, 2.0))(tmp_path / "study.nii.gz", uncertainty=True).uncertainty
    assert found is not None
    assert found.shape == SHAPE
    assert 0 <= found.min() < found.max() <= 1


def test_probabilities_of_the_patches_are_joined_without_a_seam(tmp_path: Path) -> None:
    write(tmp_path / "study.nii.gz", affine_of("RAS"))
    found = segmenter(0.0, 0.5).predict(tmp_path / "study.nii.gz")
    assert found.shape == (2, 2, *SHAPE)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.sum(1), torch.ones(2, *SHAPE))
    torch.testing.assert_close(found, found.round(), atol=1e-5, rtol=0)  # a mix of windows would lie between


class Ramp(Threshold):
    """Probability of class 1 by the place in the window, whatever the image: 0 at the first voxel, 1 at the last."""

    def predict(self, x: Tensor, modality: int = 0) -> Tensor:
        size = x.shape[2:].numel()
        found = torch.linspace(0, 1, size).reshape(1, 1, *x.shape[2:]).expand(len(x), -1, *x.shape[2:])[None]
        return torch.cat([1 - found, found], dim=2)


def test_mirrored_views_are_mirrored_back(tmp_path: Path) -> None:
    write(tmp_path / "study.nii.gz", affine_of("PIR"))
    spacing = tuple(to_ras(np.empty(SHAPE), affine_of("PIR"))[1])
    found = segmenter(0.0, 0.5, spacing=spacing).examine(tmp_path / "study.nii.gz", mirrored=True)
    branches = segmenter(0.0, 0.5, spacing=spacing).predict(tmp_path / "study.nii.gz")
    assert found.probabilities.shape == (8, *branches.shape[1:])  # as it is, and mirrored along three axes
    for view in range(4):  # a threshold does not see that the image was mirrored
        torch.testing.assert_close(found.probabilities[2 * view : 2 * view + 2], branches, atol=1e-5, rtol=0)
    assert found.embedding is None, "a threshold has no encoder"
    assert found.voxel == pytest.approx(np.prod(SPACING))


@pytest.mark.parametrize(("dimension", "views"), [(3, (None, 0, 1, 2)), (2, (None, 0, 1))])
def test_the_networks_see_each_axis_mirrored(tmp_path: Path, dimension: int, views: tuple[int | None, ...]) -> None:
    write(tmp_path / "study.nii.gz", affine_of("RAS"))
    patch = (*SHAPE[:2], SHAPE[2] if dimension == 3 else 1)
    plan = Plan(SPACING, "mr", patch, dimension=dimension)
    ramp = Segmenter(Ramp(0.0), plan, LABELS, Config(device="cpu", precision="fp32"))
    found = ramp.examine(tmp_path / "study.nii.gz", mirrored=True).probabilities[:, 1]
    assert len(found) == len(views)
    for view, axis in zip(found, views, strict=True):
        torch.testing.assert_close(view, found[0] if axis is None else found[0].flip(axis))
        assert axis is None or not torch.allclose(view, found[0])


def test_an_examination_is_a_prediction_with_an_embedding(tmp_path: Path) -> None:
    write(tmp_path / "study.nii.gz", affine_of("LPS"))
    config, plan = Config(method="cross_pseudo", size="small", device="cpu", precision="fp32"), (16, 16, 8)
    model = Segmenter(build_method(config, 1, 2, plan), Plan((2.0, 2.0, 2.5), "mr", plan), LABELS, config)
    found = model.examine(tmp_path / "study.nii.gz")
    torch.testing.assert_close(found.probabilities, model.predict(tmp_path / "study.nii.gz"))
    assert found.embedding is not None
    assert (found.embedding.dtype, found.embedding.shape) == (np.float32, (2 * 128,))
    assert np.linalg.norm(found.embedding) == pytest.approx(1)
    again = model.examine(tmp_path / "study.nii.gz").embedding
    assert np.array_equal(found.embedding, again)


def test_where_the_memory_ends_prediction_and_embedding_stay_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The memory ends behind the encoder, whose features of that pass must not be taken for those of the next."""
    write(tmp_path / "study.nii.gz", affine_of("LPS"))
    config, plan = Config(method="cross_pseudo", size="small", device="cpu", precision="fp32"), (16, 16, 8)
    model = Segmenter(build_method(config, 1, 2, plan), Plan((2.0, 2.0, 2.5), "mr", plan), LABELS, config)
    wanted = model.examine(tmp_path / "study.nii.gz")
    predict, seen = model.method.predict, []

    def hungry(windows: Tensor, *args: object) -> Tensor:
        found = predict(windows, *args)
        seen.append(len(windows))
        if len(windows) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return found

    monkeypatch.setattr(model.method, "predict", hungry)
    found = model.examine(tmp_path / "study.nii.gz")
    assert seen[0] == 2
    assert set(seen[1:]) == {1}
    torch.testing.assert_close(found.probabilities, wanted.probabilities)
    assert found.embedding is not None
    np.testing.assert_allclose(found.embedding, wanted.embedding, atol=1e-5)


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd"])
@pytest.mark.parametrize("axes", ["RAS", "LPS", "SLA"])
def test_a_saved_label_is_read_back_where_it_was(tmp_path: Path, axes: str, ending: str) -> None:
    affine = affine_of(axes, 11.0)
    write(tmp_path / "study.nii.gz", affine)
    found = segmenter(0.0, 0.5)(tmp_path / "study.nii.gz", uncertainty=True)
    for name, values in (("label", None), ("uncertainty", found.uncertainty)):
        found.save(tmp_path / f"{name}{ending}", values)
        array, own = read_volume(tmp_path / f"{name}{ending}")
        expected = found.label if values is None else values
        assert sitk.GetArrayFromImage(sitk.ReadImage(tmp_path / f"{name}{ending}")).dtype == expected.dtype
        assert np.array_equal(array, expected)
        np.testing.assert_allclose(own, affine, atol=1e-4)


def test_it_says_how_long_each_stage_took_and_what_was_mended(tmp_path: Path) -> None:
    write(tmp_path / "study.nii.gz", affine_of("RAS"))
    array, affine = read_volume(tmp_path / "study.nii.gz")
    array = np.array(array)
    array[:2] = np.nan
    nib.save(nib.Nifti1Image(array, affine), tmp_path / "study.nii.gz")
    found = segmenter(0.0)(tmp_path / "study.nii.gz")
    assert set(found.seconds) == {"preprocess", "network", "restore"}
    assert found.version == "0007"
    assert "no finite numbers" in found.notes[0]
    assert not found.label[:2].any()


def test_an_image_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.nii.gz").write_bytes(b"no image")
    with pytest.raises(StudyError, match="'broken'"):
        segmenter(0.0)(tmp_path / "broken.nii.gz")


def test_a_published_model_needs_its_file_alone(tmp_path: Path) -> None:
    write(tmp_path / "study.nii.gz", affine_of("LPS"))
    config = Config(network="unet", size="small", precision="fp32", device="cuda:7")  # of the machine that trained it
    plan = Plan((2.0, 2.0, 2.5), "mr", (16, 16, 8))
    method = build_method(config, 1, 2, plan.patch).eval()
    Model(config, plan, LABELS, method.state_dict(), version="0003").save(tmp_path / "live.pt")
    loaded = Segmenter.load(tmp_path / "live.pt", device="cpu", overlap=0.25)
    assert (loaded.version, loaded.overlap, loaded.device.type) == ("0003", 0.25, "cpu")
    assert loaded.checksum == Model.load(tmp_path / "live.pt").checksum
    by_hand = Segmenter(method, plan, LABELS, Config(device="cpu", precision="auto", overlap=0.25))
    torch.testing.assert_close(loaded.predict(tmp_path / "study.nii.gz"), by_hand.predict(tmp_path / "study.nii.gz"))
