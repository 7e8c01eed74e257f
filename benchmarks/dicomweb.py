"""A hospital's server: how long until 1,000 series with 200 labels are known, and how fast they arrive.

    python benchmarks/dicomweb.py

Starts an Orthanc of its own on the loopback interface (Debian packages orthanc and orthanc-dicomweb) and fills it with
small series, of which 200 have a DICOM SEG, and some of usual size for the downloads. The plain sequential way fetches
one instance after the other, as many clients do; both ways end with the volume on disk.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import requests
from dicomweb_client import DICOMwebClient
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from tqdm import tqdm

from benchmarks.serving import PATCH, SHAPE, infer, server
from benchmarks.sets import write_figures
from lib.config import Config
from lib.dicom import volume_file
from lib.dicom.listing import Listing
from lib.dicom.mirror import Mirror
from lib.dicom.phantom_series import write_series
from lib.dicom.segmentation_read import read_segmentation
from lib.dicom.segmentation_write import write_segmentation
from lib.dicom.series import read_series
from lib.dicom.web import DicomWeb
from lib.studies.cases import DOWNLOADS, find_cases
from lib.studies.labels import label_map
from lib.studies.phantoms import write_studies
from lib.studies.reading import read_volume
from lib.training.model_folder import ModelFolder
from lib.training.train import train
from tests.dicom.orthanc import Orthanc, orthanc

SMALL, USUAL, LARGE = (24, 24, 6), (256, 256, 60), (512, 512, 300)
AFFINE = np.diag([1.5, 1.5, 3.0, 1.0])
UPLOADS = 4  # at the same time
ASK_EVERY = 0.02  # seconds between two questions for /info/


@dataclass(frozen=True)
class Filled:
    """SeriesInstanceUIDs of what is on the server, and the StudyInstanceUID of each."""

    studies: dict[str, str]
    usual: list[str]


def main() -> None:
    args = parser().parse_args()
    with tempfile.TemporaryDirectory() as scratch, orthanc(Path(scratch) / "orthanc") as pacs:
        figures = segmentations(Path(scratch))
        filled = fill(pacs, Path(scratch), args)
        figures |= listing(pacs, Path(scratch), filled, args)
        figures |= downloads(pacs, Path(scratch), filled)
        figures |= answering(pacs, Path(scratch), args.questions)
    for key, value in figures.items():
        print(f"{key:<32}{value:>10.3f}")
    write_figures(args.json, figures)


def fill(pacs: Orthanc, scratch: Path, args: argparse.Namespace) -> Filled:
    """Small series, the first of them with a SEG, and larger ones."""
    rng, studies, usual = np.random.default_rng(0), dict[str, str](), list[str]()
    sizes = [SMALL] * args.series + [USUAL] * args.downloads
    with ThreadPoolExecutor(UPLOADS) as pool:
        for number, shape in enumerate(tqdm(sizes, "fill")):
            array = rng.integers(-1000, 1000, shape).astype(np.int16)
            files = write_series(array, AFFINE, scratch / "series", modality="CT", study=f"study {number}")
            headers = [dcmread(file, stop_before_pixels=True) for file in files]
            if number < args.labels:
                files.append(scratch / "series" / "label.dcm")
                label = (array > 0).astype(np.uint8)
                write_segmentation(label, {1: "organ"}, headers).save_as(files[-1])
            list(pool.map(pacs.upload, [[file] for file in files]))
            for file in files:
                file.unlink()
            studies[str(headers[0].SeriesInstanceUID)] = str(headers[0].StudyInstanceUID)
            usual += [str(headers[0].SeriesInstanceUID)] if shape is USUAL else []
    return Filled(studies, usual)


def listing(pacs: Orthanc, scratch: Path, filled: Filled, args: argparse.Namespace) -> dict[str, float]:
    """The first listing, one after a label was stored, and one when nothing is new."""
    first = [fresh(pacs, scratch / f"listing-{turn}") for turn in range(args.turns)]
    listed, seconds = first[-1][0], [each[1] for each in first]
    found = listed.known()
    assert (len(found.series), len(found.labels)) == (args.series + args.downloads, args.labels), "not all is listed"
    refresh, idle = [], []
    for uid in tqdm([uid for uid in found.series if uid not in found.labels][: args.turns], "refresh"):
        headers = listed.web.headers(filled.studies[uid], uid)
        array = np.ones((int(headers[0].Columns), int(headers[0].Rows), len(headers)), dtype=np.uint8)
        listed.web.store(write_segmentation(array, {1: "organ"}, headers))
        refresh.append(timed(listed.refresh))
        assert uid in listed.known().labels, "a label of a moment ago is not counted"
        idle.append(timed(listed.refresh))
    return {
        "list_seconds": statistics.median(seconds),
        "refresh_seconds": statistics.median(refresh),
        "refresh_nothing_new_seconds": statistics.median(idle),
    }


def fresh(pacs: Orthanc, folder: Path) -> tuple[Listing, float]:
    folder.mkdir()
    listed = Listing(DicomWeb(pacs.url), folder / "listing.sqlite", ("CT", "MR", "PT"))
    return listed, timed(listed.refresh)


def downloads(pacs: Orthanc, scratch: Path, filled: Filled) -> dict[str, float]:
    """From the server to a volume on disk: several series at once, and one instance after the other."""
    folder = scratch / "mirror"
    folder.mkdir()
    listed = Listing(DicomWeb(pacs.url), folder / "listing.sqlite", ("CT",))
    mirror, series = Mirror(folder, listed, budget=1e12), listed.refresh().series
    with ThreadPoolExecutor(DOWNLOADS) as pool:
        parallel = timed(lambda: list(pool.map(lambda uid: mirror.image(series[uid], uid), filled.usual)))
    client, plain = DICOMwebClient(pacs.url), scratch / "plain"
    plain.mkdir()
    start = time.perf_counter()
    for uid in tqdm(filled.usual, "one by one"):
        files = list(one_by_one(client, filled.studies[uid], uid, plain))
        found = read_series(files)
        volume_file.save(plain / f"{uid}.nii", found.array, found.affine)
    sequential = time.perf_counter() - start
    for uid in filled.usual:
        assert (read_volume(plain / f"{uid}.nii")[0] == read_volume(mirror.image_file(uid))[0]).all()
    count = len(filled.usual)
    return {"series_per_second": count / parallel, "sequential_series_per_second": count / sequential}


def one_by_one(client: DICOMwebClient, study: str, series: str, folder: Path) -> Iterator[Path]:
    for row in client.search_for_instances(study, series):
        uid = Dataset.from_json(row).SOPInstanceUID
        file = folder / f"{uid}.dcm"
        client.retrieve_instance(study, series, uid, media_types=(("application/dicom", "*"),)).save_as(file)
        yield file


def segmentations(scratch: Path) -> dict[str, float]:
    """A label of a usual CT to DICOM SEG and back, with one and with ten segments."""
    files = write_series(np.zeros(LARGE, dtype=np.int16), AFFINE, scratch / "large", modality="CT")
    headers, affine = [dcmread(file, stop_before_pixels=True) for file in files], read_series(files).affine
    figures = {}
    for count in tqdm((1, 10), "segments"):
        label, names = organs(count), {value: f"structure {value}" for value in range(1, count + 1)}
        start = time.perf_counter()
        file = scratch / "label.dcm"
        write_segmentation(label, names, headers).save_as(file)
        written = time.perf_counter()
        about = {"series": str(headers[0].SeriesInstanceUID), "frame_of_reference": headers[0].FrameOfReferenceUID}
        found = read_segmentation(dcmread(file), LARGE, affine, **about)
        ended = time.perf_counter()
        assert (found.array == label).all(), "the label came back changed"
        suffix = "" if count == 10 else f"_{count}"
        figures |= {f"seg_write_seconds{suffix}": written - start, f"seg_read_seconds{suffix}": ended - written}
    return figures


def organs(count: int) -> NDArray[np.uint8]:
    """So many balls of 60 voxels' radius along the body, which touch."""
    label = np.zeros(LARGE, dtype=np.uint8)
    x, y, z = np.ogrid[: LARGE[0], : LARGE[1], : LARGE[2]]
    for value in range(1, count + 1):
        centre = LARGE[2] * (value - 0.5) / count
        label[(x - 160 - 20 * value) ** 2 + (y - 256) ** 2 + (z - centre) ** 2 < 60**2] = value
    return label


def answering(pacs: Orthanc, scratch: Path, questions: int) -> dict[str, float]:
    """``/info/`` of a server over all these series while it segments one of them."""
    folder, studies = ModelFolder(scratch / "model"), scratch / "phantoms"
    write_studies(studies, 3, 2, 0, shape=SHAPE)
    config, cases = Config(iterations=10, patch=PATCH, size="small", validation=0), find_cases(studies)
    train(cases, label_map(config, studies, cases), config, folder)
    array, affine = read_volume(cases[-1].image)
    wide = np.tile(array, (2, 2, 1)).astype(np.int16)  # takes some seconds
    files = write_series(wide, affine, scratch / "wide", modality="MR", study="wide")
    pacs.upload(files)
    image = str(dcmread(files[0], stop_before_pixels=True).SeriesInstanceUID)
    with server(pacs.url, folder) as (url, _):
        infer(url, image)
        while requests.get(f"{url}/info/", timeout=60).json()["datastore"]["unchecked"]:
            time.sleep(1)  # the server still looks through the headers of all these series, once ever
        ended, times = threading.Event(), list[float]()

        def segment() -> None:
            while not ended.is_set():
                infer(url, image)

        thread = threading.Thread(target=segment)
        thread.start()
        time.sleep(0.5)
        for _ in tqdm(range(questions), "info"):
            times.append(1000 * timed(lambda: requests.get(f"{url}/info/", timeout=60).raise_for_status()))
            time.sleep(ASK_EVERY)
        ended.set()
        thread.join()
    return {"info_ms_p95_during_infer": statistics.quantiles(times, n=20)[-1]}


def timed(work: Callable[[], object]) -> float:
    """Seconds."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def parser() -> argparse.ArgumentParser:
    given = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    given.add_argument("--series", type=int, default=1000, help="small series on the server")
    given.add_argument("--labels", type=int, default=200, help="of these, how many have a DICOM SEG")
    given.add_argument("--downloads", type=int, default=12, help="series of usual size, for the downloads")
    given.add_argument("--turns", type=int, default=5, help="repetitions of listing and refresh")
    given.add_argument("--questions", type=int, default=200, help="for /info/ during inferences")
    given.add_argument("--json", help="write the figures here")
    return given


if __name__ == "__main__":
    main()
