"""A server and its trainings, killed again and again while readers submit labels: is anything ever lost?

    python benchmarks/faults.py --kills 200 --seed 0 --json faults.json

A real server on the loopback interface over small phantoms. At seeded moments SIGKILL ends the training or the server,
and everything is looked at: labels that were answered with 200, bit for bit and with their info; the earlier ones in
the history; published models; SQLite files and the index; and whether the next training goes on where the last one
was, up to its end. Every eighth kill takes the server, with its training left behind; the others leave it running. A
run that is broken off goes on from the figures in its file.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tqdm import tqdm

from benchmarks.fault_project import Project, Readers, Server
from benchmarks.sets import write_figures

KILLS_A_LIFE = 8  # of a server, the last of them its own
LONGEST = 5.0  # seconds from the request for a training to the kill; it loads for about 4 of them
FIGURES = (
    "kills",
    "labels",
    "labels_lost",
    "models_unreadable",
    "stores_unreadable",
    "trainings_not_resumable",
    "refused",
)


def main() -> None:
    args = parser().parse_args()
    figures = earlier(args.json) if args.json else {}
    figures = {name: figures.get(name, 0) for name in FIGURES}
    kills_a_life = min(KILLS_A_LIFE, max(1, args.kills // 2))
    life = figures["kills"] // kills_a_life
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch,
        tqdm(total=args.kills, initial=figures["kills"], unit="kill", dynamic_ncols=True) as bar,
    ):
        project = Project(Path(scratch))
        try:
            while figures["kills"] < args.kills:
                count = min(kills_a_life, args.kills - figures["kills"])
                add(figures, one_life(project, random.Random(f"{args.seed} {life}"), count, resuming=life % 2 == 0))
                write_figures(args.json, figures)
                bar.update(count)
                bar.set_postfix({name: figures[name] for name in FIGURES[1:]})
                life += 1
            add(figures, one_life(project, random.Random(args.seed), 0, resuming=True))  # what the last kill has left
            write_figures(args.json, figures)
        finally:
            project.end()
    for name, number in figures.items():
        print(f"{name:<26}{number:>8}")
    if any(figures[name] for name in FIGURES[2:]):
        raise SystemExit("Something was lost; the log of the last server has been printed above")


def one_life(project: Project, chance: random.Random, kills: int, resuming: bool) -> dict[str, int]:
    """Start a server, kill ``kills`` times, and look each time.

    Args:
        resuming: the readers leave the final labels alone, so that a killed training must go on where it was. Else
            they submit final ones too, and the next training begins anew with these.
    """
    figures = dict.fromkeys(FIGURES, 0)
    server = Server(project)
    found = [project.damage(server)]
    tags = ("draft", "second") if resuming else ("final", "draft")
    with Readers(project, server, tags) as readers:
        found.append(server.train_to_the_end())
        found.append(project.damage(server))
        for number in range(kills):
            server.start_training()
            time.sleep(chance.uniform(0.2, LONGEST))
            last = number == kills - 1
            before = project.run_of_training()
            if last:
                server.kill()
            else:
                server.kill_training()
                found.append(project.damage(server))
                if resuming and before and number >= kills - 2:
                    found.append({"trainings_not_resumable": int(not server.goes_on(before))})
            figures["kills"] += 1
    figures["labels"], figures["refused"] = readers.taken, len(project.refused)
    for damage in found:
        add(figures, damage)
    if any(figures[name] for name in FIGURES[2:]):
        tqdm.write("\n".join([server.log.read_text()[-6000:], *project.refused]))
        project.refused.clear()
    return figures


def add(figures: dict[str, int], more: dict[str, int]) -> None:
    """To what was counted so far."""
    for name, number in more.items():
        figures[name] += number


def earlier(file: str) -> dict[str, int]:
    """The figures of a run that was broken off."""
    try:
        return json.loads(Path(file).read_text())["figures"]
    except FileNotFoundError:
        return {}


def parser() -> argparse.ArgumentParser:
    given = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    given.add_argument("--kills", type=int, default=200)
    given.add_argument("--seed", type=int, default=0, help="of the moments")
    given.add_argument("--json", help="write the figures here, and go on from those that are there")
    return given


if __name__ == "__main__":
    main()
