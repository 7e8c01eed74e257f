"""Damaged files against everything that reads files: one after the other, made by Hypothesis out of whole ones.

Runs in a process of its own, which a crash may end; what it was reading then lies in the folder. Called by ``fuzz.py``.
"""

from __future__ import annotations

import argparse
import gzip
import json
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import nibabel as nib
import nrrd
import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from lib.dicom.bounded import damage_said, read_file
from lib.dicom.label import RTSTRUCT_CLASS
from lib.dicom.phantom_series import write_series
from lib.dicom.rtstruct import read_rtstruct
from lib.dicom.segmentation_read import read_segmentation
from lib.dicom.segmentation_write import write_segmentation
from lib.dicom.series import read_series
from lib.dicom.stack import RAS_OF_LPS
from lib.errors import SemisegError
from lib.studies.reading import read_image, read_volume

SHAPE = (12, 10, 6)
PATIENCE = 30  # seconds for one file
EXAMPLES = 200  # of one kind, then of the next
Edits = list[tuple[int, int, bytes]]  # place in 1/65536 of the file, bytes that go, bytes that come


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    targets = targets_in(args.folder)
    end, inputs, faults = time.monotonic() + args.seconds, 0, []
    round_ = 0
    while time.monotonic() < end:
        for name, (whole, read) in targets.items():
            tried, found = torment(args.folder, name, whole, read, args.seed + round_, end)
            inputs += tried
            faults += found
        round_ += 1
        (args.folder / "figures.json").write_text(json.dumps({"inputs": inputs, "faults": faults}))


def torment(
    folder: Path, name: str, whole: bytes, read: Callable[[Path], Any], number: int, end: float
) -> tuple[int, list[str]]:
    """How many files were tried, and the tracebacks of what is no sentence."""
    tried, faults = 0, []
    file = folder / name

    @seed(number)
    @settings(max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(edits())
    def one(changes: Edits) -> None:
        nonlocal tried
        if time.monotonic() > end:
            return
        tried += 1
        file.write_bytes(damaged(whole, changes, name))
        signal.alarm(PATIENCE)
        try:
            read(file)
        except SemisegError:
            pass
        except Exception:
            faults.append(f"{name} (seed {number}): {traceback.format_exc()[-1500:]}")
            file.rename(folder / f"fault-{number}-{tried}-{name}")
        finally:
            signal.alarm(0)

    one()
    return tried, faults


def edits() -> SearchStrategy[Edits]:
    """A few changes: bytes that are altered, taken out or put in, the end cut off."""
    numbers = st.sampled_from(
        [b"\xff" * 4, b"\x00" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"9" * 12, b"-1", b"nan"]
    )
    place = st.one_of(st.integers(0, 65_535), st.integers(0, 4_000))  # headers are at the beginning
    return st.lists(
        st.tuples(place, st.integers(0, 16), st.one_of(numbers, st.binary(max_size=16))), min_size=1, max_size=6
    )


def damaged(whole: bytes, changes: Edits, name: str) -> bytes:
    """The file with these changes; of a packed one, before it is packed."""
    data = bytearray(whole)
    for place, gone, come in changes:
        start = place * len(data) >> 16 if place > 4_000 else min(place, len(data))
        data[start : start + gone] = come
    return gzip.compress(bytes(data)) if name.endswith(".gz") else bytes(data)


def targets_in(folder: Path) -> dict[str, tuple[bytes, Callable[[Path], Any]]]:
    """Name of a file -> its bytes while it is whole, and what reads it in this program."""
    values = np.random.default_rng(0).integers(0, 255, SHAPE).astype(np.uint8)
    whole, picture = folder / "whole", values[:, :, 0]
    whole.mkdir()
    nib.save(nib.Nifti1Image(values, np.eye(4)), whole / "image.nii")  # type: ignore[no-untyped-call]
    nib.save(nib.Nifti2Image(values, np.eye(4)), whole / "two.nii")  # type: ignore[no-untyped-call]
    space = {"space": "left-posterior-superior", "space directions": np.eye(3), "space origin": np.zeros(3)}
    for encoding in ("raw", "gzip", "bzip2"):
        nrrd.write(str(whole / f"{encoding}.nrrd"), values, space | {"encoding": encoding})
    for ending in ("png", "jpg"):
        Image.fromarray(picture).save(whole / f"picture.{ending}")
    found: dict[str, tuple[bytes, Callable[[Path], Any]]] = {
        "image.nii.gz": ((whole / "image.nii").read_bytes(), read_image),
        "label.nii.gz": ((whole / "image.nii").read_bytes(), read_volume),
        "two.nii": ((whole / "two.nii").read_bytes(), read_image),
        **{f"{kind}.nrrd": ((whole / f"{kind}.nrrd").read_bytes(), read_image) for kind in ("raw", "gzip", "bzip2")},
        **{f"picture.{end}": ((whole / f"picture.{end}").read_bytes(), read_image) for end in ("png", "jpg")},
        "mask.png": ((whole / "picture.png").read_bytes(), read_volume),
    }
    return found | _dicom(whole, values)


def _dicom(whole: Path, values: Any) -> dict[str, tuple[bytes, Callable[[Path], Any]]]:
    files = write_series(values.astype(np.int16), np.diag([1.0, 1.0, 2.0, 1.0]), whole / "series")
    series = read_series(files)
    uid, frame = series.uid, str(series.headers[0].FrameOfReferenceUID)
    label = write_segmentation((values > 99).astype(np.uint8), {1: "organ"}, series.headers)
    label.save_as(whole / "label.dcm", write_like_original=False)
    grid: dict[str, Any] = {"series": uid, "frame_of_reference": frame}

    def slices(file: Path) -> Any:
        return read_series([file, *files[1:]])

    @damage_said
    def segmentation(file: Path) -> Any:
        return read_segmentation(read_file(file), SHAPE, series.affine, **grid)

    @damage_said
    def structures(file: Path) -> Any:
        return read_rtstruct(read_file(file), SHAPE, series.affine, **grid)

    _write_structures(whole / "rois.dcm", series)
    return {
        "slice.dcm": (Path(files[0]).read_bytes(), slices),
        "seg.dcm": ((whole / "label.dcm").read_bytes(), segmentation),
        "rtstruct.dcm": ((whole / "rois.dcm").read_bytes(), structures),
    }


def _write_structures(file: Path, series: Any) -> None:
    """One square ROI on one slice (PS3.3 A.19)."""
    roi, contour, drawn = Dataset(), Dataset(), Dataset()
    roi.ROINumber, roi.ROIName = 1, "organ"
    roi.ReferencedFrameOfReferenceUID = series.headers[0].FrameOfReferenceUID
    contour.ContourGeometricType = "CLOSED_PLANAR"
    corners = np.array([[2, 2, 3, 1], [8, 2, 3, 1], [8, 7, 3, 1], [2, 7, 3, 1]]) @ series.affine.T @ RAS_OF_LPS
    contour.ContourData = [f"{number:.4f}" for number in corners[:, :3].ravel()]
    drawn.ReferencedROINumber, drawn.ContourSequence = 1, [contour]
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = RTSTRUCT_CLASS, generate_uid(), "RTSTRUCT"
    dataset.SeriesInstanceUID = generate_uid()
    dataset.StructureSetROISequence, dataset.ROIContourSequence = [roi], [drawn]
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = RTSTRUCT_CLASS
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.is_little_endian, dataset.is_implicit_VR = True, False
    dataset.save_as(file, write_like_original=False)


if __name__ == "__main__":
    main()
