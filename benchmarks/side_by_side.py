"""Several runs of a benchmark at a time, each in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor


def run_side_by_side(commands: Mapping[str, Sequence[str]], jobs: int) -> list[str]:
    """Run Python with these arguments, ``jobs`` at a time; memory, threads and random states are each one's own.

    Args:
        commands: arguments by what the run is called.

    Returns:
        A sentence for each that failed; its reason stands on stderr.
    """
    children: list[subprocess.Popen[bytes]] = []
    failed: list[str] = []
    ending = threading.Event()

    def start(title: str) -> None:
        if ending.is_set():
            return
        child = subprocess.Popen([sys.executable, *commands[title]])
        children.append(child)
        if child.wait():
            failed.append(f"{title}: exit status {child.returncode}, the reason stands above")

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with ThreadPoolExecutor(jobs) as pool:
        try:
            list(pool.map(start, commands))
        except BaseException:  # Ctrl-C, or a request to end: the runs end too, and the next time they are resumed
            ending.set()
            for child in children:
                child.terminate()
            raise
    return failed
