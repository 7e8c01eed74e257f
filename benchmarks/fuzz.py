"""Random requests and damaged files against a real server: does it answer with a bare 500, write elsewhere, or die?

    python benchmarks/fuzz.py --minutes 10 --json FILE --seed 0

Six tenths of the time Schemathesis makes requests out of the server's own OpenAPI, right and wrong ones, in sequences
too; the rest Hypothesis damages files for everything that reads files (``fuzz_files.py``). Figures:

- ``requests``, ``files``: how many there were.
- ``bare_500``: answers of 500 and above but 503, by the server's own count.
- ``files_outside``: files that the server, or a process of its, made, changed or deleted outside of its folders. An
  audit hook of Python tells of each; it is put into the processes by ``sitecustomize``.
- ``crashes``: ends of the server or of a reading process, and files whose reader fails without a sentence.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import requests
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.fault_project import APP, Project, Server
from benchmarks.sets import write_figures

ROOT = Path(__file__).resolve().parents[1]
HTTP = 0.6  # share of the time
WATCH = """
import os, sys

LOG, ALLOWED = {log!r}, {allowed!r}
CHANGES = {{"os.mkdir", "os.rename", "os.link", "os.symlink", "os.remove", "os.rmdir", "os.truncate", "os.chmod"}}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


def watch(event, arguments):
    if event in CHANGES:
        paths = arguments[:2] if event in ("os.rename", "os.link", "os.symlink") else arguments[:1]
    elif event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES:
        paths = arguments[:1]
    else:
        return
    for path in paths:
        if not isinstance(path, (str, bytes, os.PathLike)):
            continue
        path = os.path.abspath(os.fsdecode(path))
        if not path.startswith(ALLOWED) and "__pycache__" not in path:
            line = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(line, f"{{event}} {{path!r}}\\n".encode(errors="replace"))
            os.close(line)


sys.addaudithook(watch)
"""


def main() -> None:
    args = parser().parse_args()
    seconds = args.minutes * 60
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        figures, told = requesting(folder, seconds * HTTP, args.seed)
        more, faults = reading(folder, seconds * (1 - HTTP), args.seed)
    figures |= {"files": more["files"], "crashes": figures["crashes"] + more["crashes"]}
    for line in [*told, *faults]:
        print(line, file=sys.stderr)
    for key, value in figures.items():
        print(f"{key:<16}{value:>10}")
    if args.json:
        write_figures(args.json, figures)
    sys.exit(any(figures[key] for key in ("bare_500", "files_outside", "crashes")))


def parser() -> argparse.ArgumentParser:
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--minutes", type=float, default=10.0)
    given.add_argument("--seed", type=int, default=0)
    given.add_argument("--json", help="write the figures here")
    return given


def requesting(folder: Path, seconds: float, seed: int) -> tuple[dict[str, int], list[str]]:
    """Figures of the requests, and what is to be told of failures."""
    watched, log = folder / "project", folder / "written-outside"
    site, home = folder / "site", watched / "home"
    for place in (site, home):
        place.mkdir(parents=True)
    allowed = [str(watched), str(APP / "logs"), "/dev/", "/proc/self/"]
    (site / "sitecustomize.py").write_text(WATCH.format(log=str(log), allowed=tuple(allowed)))
    os.environ |= {"PYTHONPATH": str(site), "HOME": str(home), "TMPDIR": str(home)}
    project = Project(watched)
    try:
        server = Server(project)
        server.train_to_the_end()
        output = schemathesis(server.url, seconds, seed)
        died = int(server.process.poll() is not None)
        counts = {} if died else answers(server.url)
    finally:
        project.end()
        for name in ("PYTHONPATH", "HOME", "TMPDIR"):
            os.environ.pop(name)
    outside = sorted(set(log.read_text().splitlines())) if log.is_file() else []
    bare = sum(count for status, count in counts.items() if status >= 500 and status != 503)
    figures = {"requests": sum(counts.values()), "bare_500": bare, "files_outside": len(outside), "crashes": died}
    errors = [line for line in server.log.read_text().splitlines() if "-> 500" in line]
    return figures, [*outside, *errors, *([output[-6000:]] if bare or died else [])]


def schemathesis(url: str, seconds: float, seed: int) -> str:
    """Everything its OpenAPI has, right and wrong data, for so long; returns what it printed."""
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json", "--checks", "not_a_server_error",
        "--mode", "all", "--max-time", str(max(1, int(seconds))), "--max-examples", "10000", "--continue-on-failure",
        "--no-shrink", "--seed", str(seed), "--request-timeout", "120", "--generation-database", "none", "--no-color",
        "--suppress-health-check", "all", "--warnings", "off",
    ]  # fmt: skip
    plain = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 600, env=plain, check=False)
    return done.stdout + done.stderr


def answers(url: str) -> dict[int, int]:
    """Status -> how many answers, as the server has counted them."""
    found: dict[int, int] = {}
    for family in text_string_to_metric_families(requests.get(f"{url}/metrics", timeout=60).text):
        for sample in family.samples if family.name == "semiseg_requests" else ():
            if sample.name.endswith("_total"):
                status = int(sample.labels["status"])
                found[status] = found.get(status, 0) + int(sample.value)
    return found


def reading(folder: Path, seconds: float, seed: int) -> tuple[dict[str, int], list[str]]:
    """Figures of the damaged files, and the faults."""
    place = folder / "damaged"
    place.mkdir()
    command = [sys.executable, str(ROOT / "benchmarks" / "fuzz_files.py"), str(place)]
    command += ["--seconds", str(seconds), "--seed", str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 600, check=False)
    file = place / "figures.json"
    found = json.loads(file.read_text()) if file.is_file() else {"inputs": 0, "faults": []}
    faults = found["faults"] + (
        [f"The reader ended with {done.returncode}: {done.stderr[-2000:]}"] if done.returncode else []
    )
    return {"files": found["inputs"], "crashes": len(faults)}, faults


if __name__ == "__main__":
    main()
