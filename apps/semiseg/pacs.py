"""``make pacs``: Orthanc with DICOMweb on this machine, holding the demo studies as DICOM series.

``start`` (the default) writes its configuration, starts it in the background and loads the studies; ``stop`` ends it;
``load --url`` loads the studies into another DICOMweb server. All may be repeated: what is there is left alone.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import nibabel as nib
import numpy as np
import pydicom
import requests
from dicomweb_client import DICOMwebClient
from pydicom.dataset import Dataset
from tqdm import tqdm

from apps.semiseg.demo import HARD, LABELLED, STUDIES
from lib.dicom.phantom_series import uid, write_series
from lib.dicom.segmentation_write import write_segmentation
from lib.errors import NotReadyError, SemisegError
from lib.studies.phantoms import LABELS, write_studies

NAME = "semiseg"  # of our Orthanc, by which we know it again
HOST = "127.0.0.1"
PROGRAMS = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"
PLUGINS = ("/usr/share/orthanc/plugins", "/usr/local/share/orthanc/plugins", "/usr/lib/orthanc")
INSTALL = (
    "on Debian or Ubuntu: sudo apt-get install orthanc orthanc-dicomweb; elsewhere, then again make pacs: "
    "docker run -d -p {host}:{port}:8042 -e ORTHANC__NAME={name} -e ORTHANC__AUTHENTICATION_ENABLED=false "
    "-e DICOM_WEB_PLUGIN_ENABLED=true orthancteam/orthanc"
)


def main() -> int:
    """Run the command; returns the exit status. What fails says why in one sentence."""
    options = read_options()
    try:
        if options.command == "stop":
            stop(options.folder)
            return 0
        url = options.url or start(options.folder, options.port)
        print(f"{load(url, options.studies)} of {options.studies} demo studies were new; DICOMweb: {url}")
    except (SemisegError, OSError) as error:
        print(f"No PACS: {error}", file=sys.stderr)
        return 2
    return 0


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", nargs="?", default="start", choices=("start", "load", "stop"))
    parser.add_argument("--folder", type=Path, default=Path("pacs"), help="where Orthanc keeps everything (pacs)")
    parser.add_argument("--port", type=int, default=8042, help="of Orthanc (8042)")
    parser.add_argument("--studies", type=int, default=STUDIES, help=f"how many are loaded ({STUDIES})")
    parser.add_argument("--url", default="", help="load: the DICOMweb server, http://host:port/root")
    options = parser.parse_args()
    if (options.command == "load") != bool(options.url):
        parser.error("load needs --url, and no other command has it")
    return options


def start(folder: Path, port: int) -> str:
    """Orthanc's DICOMweb URL; it is started if it does not run yet.

    Raises:
        NotReadyError: Orthanc is not installed, does not start, or another server has the port.
    """
    url = f"http://{HOST}:{port}"
    name = running(url)
    if name is None:
        launch(folder, port)
    elif name != NAME:
        reason = f"Port {port} belongs to another server ({name or 'not Orthanc'})"
        service = "Debian starts one by itself: sudo systemctl disable --now orthanc"
        raise NotReadyError(f"{reason}. Choose a free one: make pacs PACS_PORT=8043. {service}")
    return f"{url}/dicom-web"


def running(url: str) -> str | None:
    """Name of the Orthanc at this address; empty if it is another server, None if nobody answers."""
    try:
        return str(requests.get(f"{url}/system", timeout=5).json()["Name"])
    except requests.ConnectionError:
        return None
    except (requests.RequestException, KeyError, TypeError):
        return ""


def launch(folder: Path, port: int) -> None:
    """Start Orthanc in the background and wait until it answers."""
    program = shutil.which("Orthanc", path=PROGRAMS)
    plugin = next((file for place in PLUGINS for file in sorted(Path(place).glob("libOrthancDicomWeb.so*"))), None)
    if not program or not plugin:
        missing = "its DICOMweb plugin" if program else "Orthanc"
        raise NotReadyError(f"{missing} is not installed; {INSTALL.format(host=HOST, port=port, name=NAME)}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "orthanc.json").write_text(json.dumps(configuration(folder.resolve(), port, plugin), indent=1) + "\n")
    with (folder / "orthanc.log").open("w") as log:
        command = [program, str(folder / "orthanc.json")]
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    (folder / "orthanc.pid").write_text(str(process.pid))
    end = time.monotonic() + 60
    while running(f"http://{HOST}:{port}") != NAME:
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            raise NotReadyError(f"Orthanc did not start; see {folder / 'orthanc.log'}")
        time.sleep(0.1)


def configuration(folder: Path, port: int, plugin: Path) -> dict[str, Any]:
    """Of an Orthanc for this machine alone: no user and password, but loopback only, and no DICOM port."""
    return {
        "Name": NAME,
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpPort": port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomServerEnabled": False,
        "Plugins": [str(plugin)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "StudiesMetadata": "Full", "SeriesMetadata": "Full"},
    }


def load(url: str, studies: int) -> int:
    """Store the demo studies that are not there yet, the first of them with labels; returns how many were new."""
    client = DICOMwebClient(url)
    try:
        there = {found["0020000D"]["Value"][0] for found in client.search_for_studies(fields=["StudyInstanceUID"])}
        with tempfile.TemporaryDirectory() as scratch:
            ids = write_studies(Path(scratch), studies, LABELLED, **HARD)
            new = [study for study in ids if uid("study", study) not in there]
            for study in tqdm(new, "Storing", disable=not new):
                day = f"202401{len(ids) - ids.index(study):02d}"  # OHIF lists the newest first
                client.store_instances(objects(Path(scratch), study, day))
    except requests.RequestException as error:
        raise NotReadyError(f"The DICOMweb server {url} does not take the studies ({error})") from error
    return len(new)


def objects(folder: Path, study: str, day: str) -> list[Dataset]:
    """The study's DICOM objects: its series, and its label, if there is one, as DICOM SEG."""
    image = nib.load(folder / f"{study}.nii.gz")
    files = write_series(np.asarray(image.dataobj), image.affine, folder / study, study=study, date=day)
    series = [pydicom.dcmread(file) for file in files]
    label = folder / "labels" / "final" / f"{study}.nii.gz"
    if not label.is_file():
        return series
    names = {value: name for name, value in LABELS.items()}
    return [*series, write_segmentation(np.asarray(nib.load(label).dataobj), names, series)]


def stop(folder: Path) -> None:
    """End the Orthanc that was started over this folder, if it runs, and wait until it has written everything."""
    file = folder / "orthanc.pid"
    if not file.is_file():
        return
    pid = int(file.read_text())
    if ours(pid):
        os.kill(pid, signal.SIGTERM)
    while ours(pid):
        time.sleep(0.1)
    file.unlink()


def ours(pid: int) -> bool:
    """Whether the process is an Orthanc that was started here: its number may be another's by now."""
    found = subprocess.run(["ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, text=True)
    return "orthanc.json" in found.stdout


if __name__ == "__main__":
    sys.exit(main())
