from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import pillow_jpls  # noqa: F401 - teaches Pillow JPEG-LS; another encoder than the decoder under test
import pytest
import SimpleITK as sitk
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, JPEGLSLossless, RLELossless

from lib.dicom.frames import Frame
from lib.dicom.phantom_series import write_series
from lib.dicom.pixels import stored_values, values
from lib.errors import StudyError

RNG = np.random.default_rng(0)
PLANE = RNG.integers(-1000, 1800, (9, 7)).astype(np.int16)  # rows, columns
ITK = {"1.2.840.10008.1.2.4.70": "JPEG", "1.2.840.10008.1.2.4.90": "JPEG2000"}


@pytest.fixture
def plain(tmp_path: Path) -> Dataset:
    return dcmread(write_series(PLANE.T[:, :, None], np.eye(4), tmp_path, modality="CT")[0])


def store(header: Dataset, plane: np.ndarray, bits: int, signed: bool) -> Dataset:
    header.BitsAllocated, header.BitsStored, header.HighBit = plane.itemsize * 8, bits, bits - 1
    header.PixelRepresentation, header.PixelData = int(signed), plane.tobytes()
    return header


def compressed(header: Dataset, syntax: str, folder: Path) -> Dataset:
    """The same image in another transfer syntax, written and read again."""
    pixels, file = header.pixel_array, folder / "compressed.dcm"
    if syntax == RLELossless:
        header.compress(RLELossless)
    elif syntax == JPEGLSLossless:
        stream = io.BytesIO()
        Image.fromarray(pixels.view(np.uint16) & (1 << header.BitsStored) - 1).save(stream, "JPEG-LS")
        header.PixelData = encapsulate([stream.getvalue()])
    elif syntax in ITK:
        writer = sitk.ImageFileWriter()
        writer.SetImageIO("GDCMImageIO")
        writer.UseCompressionOn()
        writer.SetCompressor(ITK[syntax])
        writer.SetFileName(str(folder / "itk.dcm"))
        writer.Execute(sitk.GetImageFromArray(pixels[None]))
        written = dcmread(folder / "itk.dcm")
        assert written.file_meta.TransferSyntaxUID == syntax
        header.PixelData = written.PixelData
    elif syntax == ExplicitVRBigEndian:
        header.PixelData, header.is_little_endian = pixels.astype(">i2").tobytes(), False
    header["PixelData"].is_undefined_length = UID(syntax).is_encapsulated
    header.file_meta.TransferSyntaxUID = UID(syntax)
    header.save_as(file, write_like_original=False)
    return dcmread(file)


@pytest.mark.parametrize(
    "syntax", [*ITK, JPEGLSLossless, RLELossless, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_lossless_syntaxes_give_the_same_values(plain: Dataset, tmp_path: Path, syntax: str) -> None:
    header = compressed(plain, syntax, tmp_path)
    assert header.file_meta.TransferSyntaxUID == syntax
    assert np.array_equal(values(Frame(header, 0, 0), stored_values("1.2", header)[0]), PLANE)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", JPEGLSLossless])
def test_the_sign_is_the_highest_of_the_stored_bits(plain: Dataset, tmp_path: Path, syntax: str) -> None:
    twelve = (PLANE & 0xFFF).astype(np.uint16)  # two's complement of 12 bits, the bits above are 0
    header = store(plain, twelve, bits=12, signed=True)
    if syntax == JPEGLSLossless:
        header = compressed(header, syntax, tmp_path)
    assert np.array_equal(values(Frame(header, 0, 0), stored_values("1.2", header)[0]), PLANE)


def test_overlays_above_the_highest_bit_are_no_part_of_the_value(plain: Dataset) -> None:
    plane = RNG.integers(0, 4096, PLANE.shape).astype(np.uint16)
    header = store(plain, plane | 0x8000, bits=12, signed=False)
    assert np.array_equal(values(Frame(header, 0, 0), stored_values("1.2", header)[0]), plane)
    header = store(plain, plane << 4, bits=12, signed=False)
    header.HighBit = 15
    assert np.array_equal(values(Frame(header, 0, 0), stored_values("1.2", header)[0]), plane)


def test_a_modality_lut_is_applied(plain: Dataset) -> None:
    header = store(plain, (PLANE & 3).astype(np.uint16), bits=16, signed=False)
    table = Dataset()
    table.LUTDescriptor, table.LUTData, table.ModalityLUTType = [4, 0, 16], [5, 50, 500, 5000], "US"
    header.ModalityLUTSequence = Sequence([table])
    del header.RescaleSlope, header.RescaleIntercept
    expected = np.array([5, 50, 500, 5000])[PLANE & 3]
    assert np.array_equal(values(Frame(header, 0, 0), stored_values("1.2", header)[0]), expected)


@pytest.mark.parametrize("syntax", [*ITK, JPEGLSLossless])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_stream_cut_short_is_refused(plain: Dataset, tmp_path: Path, syntax: str, share: float) -> None:
    header = compressed(plain, syntax, tmp_path)
    stream = header.PixelData[16:-8]  # behind the empty offset table and the item's tag and length
    header.PixelData = encapsulate([stream[: int(len(stream) * share)]])
    with pytest.raises(StudyError, match=r"Study '1\.2': image 1 cannot be decoded .JPEG"):
        stored_values("1.2", header)


@pytest.mark.parametrize("syntax", [*ITK, JPEGLSLossless])
def test_a_damaged_stream_never_ends_the_process(plain: Dataset, tmp_path: Path, syntax: str) -> None:
    header = compressed(plain, syntax, tmp_path)
    stream = header.PixelData[16:-8]
    for _ in range(100):
        damaged = bytearray(stream)
        for place in RNG.integers(0, len(damaged) - 4, 3):
            damaged[place] = RNG.integers(0, 256)
        header.PixelData = encapsulate([bytes(damaged)])
        with contextlib.suppress(StudyError):
            assert stored_values("1.2", header).shape == (1, *PLANE.shape)


def test_what_the_header_says_must_be_there(plain: Dataset, tmp_path: Path) -> None:
    header = compressed(plain, JPEGLSLossless, tmp_path)
    header.Rows, header.Columns = header.Columns, header.Rows  # as many pixels, another picture
    with pytest.raises(StudyError, match=r"of .9, 7. rows and columns"):
        stored_values("1.2", header)
    header.Rows, header.Columns, header.NumberOfFrames = header.Columns, header.Rows, 2
    with pytest.raises(StudyError, match="cannot be decoded"):
        stored_values("1.2", header)


def test_a_syntax_without_decoder_is_named(plain: Dataset) -> None:
    plain.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.100")
    with pytest.raises(StudyError, match="MPEG2"):
        stored_values("1.2", plain)
