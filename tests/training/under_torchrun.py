"""What each process of ``test_distribution.py`` runs: two trainings, and one that only the last process stops.

Writes ``<out>/<name>-<rank>.json``: the losses it was told step by step, and how each training ended; last into the
folder of the jobs ``threads-<rank>.json``: the names of the threads that outlive the group.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch

from lib.config import Config
from lib.networks import factory
from lib.studies.cases import find_cases
from lib.studies.labels import label_map
from lib.training.distribution import averaged, process_group
from lib.training.model_folder import ModelFolder
from lib.training.train import train


def run(name: str, studies: Path, out: Path, stop_at: int, settings: dict[str, Any]) -> None:
    config, told = Config.from_dict(settings), {}

    def listen(now: Any) -> None:
        if now.stage == "training":
            told[now.step] = now.losses

    result = train(
        find_cases(studies), label_map(config, studies), config, ModelFolder(out / name), listen,
        lambda: idist.get_rank() == idist.get_world_size() - 1 and bool(told) and max(told) == stop_at,
    )  # fmt: skip
    answer = {"losses": told, "version": result.version, "metric": result.metric}
    answer["mean_rank"] = averaged({"rank": float(idist.get_rank())}, torch.device("cpu"))["rank"]
    (out / f"{name}-{idist.get_rank()}.json").write_text(json.dumps(answer))


if __name__ == "__main__":
    torch.set_num_threads(1)
    factory.WIDTHS["small"] = (4, 8, 8)
    jobs = Path(sys.argv[1])
    with process_group("cpu"):
        for each in json.loads(jobs.read_text()):
            run(each["name"], Path(each["studies"]), Path(each["out"]), each["stop_at"], each["settings"])
    threads = [name.read_text().strip() for name in Path("/proc/self/task").glob("*/comm")]
    jobs.with_name(f"threads-{os.environ['RANK']}.json").write_text(json.dumps(threads))
