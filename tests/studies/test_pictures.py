"""Pictures in every form their files hold colours, and masks whose values must not change on the way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from lib.errors import StudyError
from lib.studies.pictures import LUMINANCE, read_mask, read_picture, save_mask, to_luminance

ROWS, COLUMNS = 5, 7


def rgb(seed: int = 0) -> np.ndarray:
    """(rows, columns, 3)"""
    return np.random.default_rng(seed).integers(0, 256, (ROWS, COLUMNS, 3), dtype=np.uint8)


def grey(dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(1).integers(0, np.iinfo(dtype).max, (ROWS, COLUMNS), dtype=dtype)


def saved(folder: Path, pixels: np.ndarray | Image.Image, name: str = "slide.png", **options: object) -> Path:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(folder / name, **options)
    return folder / name


def as_volume(pixels: np.ndarray) -> np.ndarray:
    """By the words of the docstring: X are columns, Y are rows."""
    channels = pixels.reshape(ROWS, COLUMNS, -1)
    volume = np.empty((channels.shape[2], COLUMNS, ROWS, 1), pixels.dtype)
    for row, column in np.ndindex(ROWS, COLUMNS):
        volume[:, column, row, 0] = channels[row, column]
    return volume


def test_a_colour_picture_has_three_channels_columns_and_rows(tmp_path: Path) -> None:
    found, affine = read_picture(saved(tmp_path, rgb()))
    assert np.array_equal(found, as_volume(rgb()))
    assert np.array_equal(affine, np.diag([-1.0, -1, 1, 1]))


def test_its_geometry_is_that_of_itk(tmp_path: Path) -> None:
    path = saved(tmp_path, grey())
    image = sitk.ReadImage(str(path))
    assert image.GetSize() == read_picture(path)[0].shape[1:3]
    in_lps = np.diag([-1.0, -1, 1, 1]) @ read_picture(path)[1]
    assert image.TransformIndexToPhysicalPoint((3, 2)) == tuple((in_lps @ [3, 2, 0, 1])[:2])
    assert image[3, 2] == read_picture(path)[0][0, 3, 2, 0]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_keeps_its_depth(tmp_path: Path, dtype: type) -> None:
    found, _ = read_picture(saved(tmp_path, grey(dtype)))
    assert np.array_equal(found, as_volume(grey(dtype)))
    assert found.max() > (255 if dtype is np.uint16 else 0)


def test_a_colour_file_of_grey_is_grey(tmp_path: Path) -> None:
    path = saved(tmp_path, np.repeat(grey()[..., None], 3, axis=2))
    assert np.array_equal(read_picture(path)[0], as_volume(grey()))


def test_opacity_is_dropped_not_blended(tmp_path: Path) -> None:
    for pixels in (rgb(), grey()):
        opacity = grey()[..., None] // 2
        layers = np.concatenate([pixels.reshape(ROWS, COLUMNS, -1), opacity], axis=2)
        assert np.array_equal(read_picture(saved(tmp_path, layers))[0], as_volume(pixels))


def test_a_palette_becomes_its_colours(tmp_path: Path) -> None:
    image = Image.fromarray(grey() % 3)
    image.putpalette([10, 20, 30, 200, 100, 0, 7, 7, 7])
    colours = np.array([[10, 20, 30], [200, 100, 0], [7, 7, 7]], np.uint8)[grey() % 3]
    assert np.array_equal(read_picture(saved(tmp_path, image))[0], as_volume(colours))


def test_cmyk_becomes_its_colours(tmp_path: Path) -> None:
    ink = np.zeros((ROWS, COLUMNS, 4), np.uint8)
    ink[..., 1] = 255  # magenta alone takes all the green
    path = saved(tmp_path, Image.fromarray(ink, mode="CMYK"), "slide.jpg", quality=100)
    found, _ = read_picture(path)
    assert found.shape == (3, COLUMNS, ROWS, 1)
    assert found[0].min() > 250
    assert found[1].max() < 5
    assert found[2].min() > 250


def test_black_and_white_is_grey(tmp_path: Path) -> None:
    white = grey() > 100
    assert np.array_equal(read_picture(saved(tmp_path, white))[0], as_volume(255 * white.astype(np.uint8)))


def test_what_exif_says_of_the_orientation_is_not_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by 90 degrees"
    assert np.array_equal(read_picture(saved(tmp_path, rgb(), exif=exif))[0], as_volume(rgb()))


@pytest.mark.parametrize("name", ["cut.png", "cut.jpg"])
def test_a_truncated_or_foreign_file_is_a_sentence(tmp_path: Path, name: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    whole = saved(tmp_path, pixels, name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StudyError, match=rf"'cut': {name} cannot be read"):
        read_picture(tmp_path / name)
    (tmp_path / name).write_bytes(b"no picture")
    with pytest.raises(StudyError, match="'cut'") as refused:
        read_picture(tmp_path / name)
    assert str(tmp_path) not in str(refused.value)


def test_luminance_is_the_weighted_sum_of_the_colours() -> None:
    volume = as_volume(rgb()).astype(np.float32)
    red, green, blue = volume
    expected = LUMINANCE[0] * red + LUMINANCE[1] * green + LUMINANCE[2] * blue
    np.testing.assert_allclose(to_luminance(volume), expected[None], rtol=1e-5)
    assert sum(LUMINANCE) == pytest.approx(1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_saved_mask_comes_back(tmp_path: Path, dtype: type) -> None:
    label = as_volume(grey(dtype))[0]
    save_mask(tmp_path / "mask.png", label)
    values, affine = read_mask(tmp_path / "mask.png")
    assert np.array_equal(values, label)
    assert np.array_equal(affine, np.diag([-1.0, -1, 1, 1]))


def test_the_values_of_a_palette_mask_are_its_indices(tmp_path: Path) -> None:
    image = Image.fromarray(grey() % 3)
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    assert np.array_equal(read_mask(saved(tmp_path, image))[0], as_volume(grey() % 3)[0])


def test_bits_grey_colours_and_opacity_do_not_change_values(tmp_path: Path) -> None:
    classes = grey() % 3
    assert np.array_equal(read_mask(saved(tmp_path, classes > 0))[0], as_volume((classes > 0).astype(np.uint8))[0])
    for channels in (2, 3, 4):  # grey with opacity, RGB, RGBA
        layers = np.repeat(classes[..., None], channels, axis=2)
        if channels in (2, 4):
            layers[..., -1] = 255
        assert np.array_equal(read_mask(saved(tmp_path, layers))[0], as_volume(classes)[0])


def test_a_mask_of_colours_or_in_jpeg_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"'slide'.*colours.*grey values"):
        read_mask(saved(tmp_path, rgb()))
    for name in ("slide.jpg", "slide.png"):  # whatever its ending says
        with pytest.raises(StudyError, match=r"'slide'.*JPEG.*\.png"):
            read_mask(saved(tmp_path, grey(), name, format="JPEG"))
