"""What a header claims is judged before a byte is unpacked, and what files really hold is read as before."""

from __future__ import annotations

import bz2
import gzip
import resource
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import nrrd
import numpy as np
import pytest
from PIL import Image

from lib.errors import StudyError
from lib.studies import bounds
from lib.studies.reading import read_image, read_volume

ARRAY = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
HUGE = (30_000, 30_000, 1_200)  # more than 10^12 voxels; each length fits the 16 bits of a NIfTI header


@pytest.fixture(autouse=True)
def little_memory() -> Iterator[None]:
    """What asks for more than 256 MB ends the test instead of the machine."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (1 << 28), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def nifti(file: Path, shape: Any = ARRAY.shape, kind: type = nib.Nifti1Image, **fields: Any) -> Path:
    """A NIfTI of :data:`ARRAY` whose header says what it is told to."""
    plain = file.with_name("plain.nii")
    nib.save(kind(ARRAY, np.eye(4)), plain)
    data = bytearray(plain.read_bytes())
    header = kind.header_class(bytes(data[: kind.header_class.template_dtype.itemsize]))
    header["dim"][1:4] = shape
    for field, value in fields.items():
        header[field] = value
    data[: len(header.binaryblock)] = header.binaryblock
    file.write_bytes(gzip.compress(data) if file.name.endswith(".gz") else data)
    return file


def nrrd_file(file: Path, encoding: str, data: bytes, sizes: str = "4 5 6", *lines: str) -> Path:
    """A NRRD with this header and these packed data."""
    header = [
        "NRRD0004", "type: int16", "dimension: 3", "space: left-posterior-superior", f"sizes: {sizes}",
        "space directions: (1,0,0) (0,1,0) (0,0,1)", "space origin: (0,0,0)", "endian: little",
        f"encoding: {encoding}", *lines,
    ]  # fmt: skip
    file.write_bytes("\n".join([*header, "", ""]).encode() + data)
    return file


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "ascii"])
def test_a_nrrd_is_read_whatever_way_it_is_packed(tmp_path: Path, encoding: str) -> None:
    values = ARRAY.tobytes(order="F")
    packed = {"raw": values, "gzip": gzip.compress(values), "bzip2": bz2.compress(values)}
    file = nrrd_file(tmp_path / "a.nrrd", encoding, packed.get(encoding, " ".join(map(str, ARRAY.T.ravel())).encode()))
    np.testing.assert_array_equal(read_volume(file)[0], ARRAY)
    np.testing.assert_array_equal(nrrd.read(str(file))[0], ARRAY)


def test_bytes_before_the_values_are_skipped_as_pynrrd_does(tmp_path: Path) -> None:
    data = bytes(7) + ARRAY.tobytes(order="F")
    for skip, encoding in ((7, "raw"), (-1, "raw"), (7, "gzip"), (-1, "gzip")):
        packed = gzip.compress(data) if encoding == "gzip" else data
        file = nrrd_file(tmp_path / "a.nrrd", encoding, packed, "4 5 6", f"byte skip: {skip}")
        np.testing.assert_array_equal(read_volume(file)[0], ARRAY)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_nifti_that_says_a_terabyte_is_refused_by_its_header(tmp_path: Path, kind: type, ending: str) -> None:
    np.testing.assert_array_equal(read_volume(nifti(tmp_path / f"good{ending}", kind=kind))[0], ARRAY)
    with pytest.raises(StudyError, match="30000 x 30000 x 1200 values"):
        read_image(nifti(tmp_path / f"a{ending}", HUGE, kind))
    with pytest.raises(StudyError, match="file is too small"):
        read_image(nifti(tmp_path / f"a{ending}", (800, 800, 800), kind))


@pytest.mark.parametrize("offset", [2**30, -4, float("nan")])
def test_what_lies_before_a_niftis_voxels_is_bounded_too(tmp_path: Path, offset: float) -> None:
    with pytest.raises(StudyError, match="voxels begin at byte"):
        read_image(nifti(tmp_path / "a.nii", vox_offset=offset))


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2"])
def test_a_nrrd_that_says_a_terabyte_is_refused_by_its_header(tmp_path: Path, encoding: str) -> None:
    with pytest.raises(StudyError, match="10000 x 10000 x 10000 values"):
        read_image(nrrd_file(tmp_path / "a.nrrd", encoding, b"", "10000 10000 10000"))


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("bzip2", bz2.compress)])
def test_no_more_of_a_nrrd_is_unpacked_than_its_header_says(tmp_path: Path, encoding: str, pack: Any) -> None:
    zeros = pack(bytes(1 << 20))
    bomb = zeros * 2000  # members one after the other: 2 GB
    np.testing.assert_array_equal(read_volume(nrrd_file(tmp_path / "a.nrrd", encoding, bomb))[0], np.zeros((4, 5, 6)))


def test_a_nrrd_reads_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "secret.raw").write_bytes(ARRAY.tobytes())
    for name in ("secret.raw", tmp_path / "secret.raw"):
        for key in ("data file", "datafile"):
            with pytest.raises(StudyError, match="another file"):
                read_image(nrrd_file(tmp_path / "a.nrrd", "raw", b"", "4 5 6", f"{key}: {name}"))


def test_a_nrrd_header_without_an_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.nrrd").write_bytes(b"NRRD0004\n" + b"#" * (1 << 21))
    with pytest.raises(StudyError, match="no end"):
        read_image(tmp_path / "a.nrrd")


def test_a_picture_of_a_billion_pixels_is_refused_by_its_header(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(bytes(1 << 16)))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b""))
    with pytest.raises(StudyError, match=r"exceeds limit|values"):
        read_image(tmp_path / "a.png")
    Image.new("L", (8, 8)).save(tmp_path / "b.png")
    assert read_image(tmp_path / "b.png")[0].shape == (1, 8, 8, 1)


def test_a_volume_that_would_fill_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = nifti(tmp_path / "a.nii")
    read_image(file)
    monkeypatch.setattr(bounds, "MEMORY", 1e-12)
    with pytest.raises(StudyError, match="more memory than is free"):
        read_image(file)
