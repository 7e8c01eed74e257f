"""What the unlabelled studies bring: each method against supervised training, on real studies, over several seeds.

    python benchmarks/accuracy.py --set la --labelled 8 --seeds 3
    python benchmarks/accuracy.py --report --markdown

Same network, patches, views, batches and iterations for every method of a set, weights of the last iteration; the
evaluation cases take no part in any choice. ``benchmarks/protocols.py`` says what each set trains and judges on.
A run that is there already is not repeated and one that was interrupted is resumed by the same command; ``--report``
shows what is there without running anything. Two run at a time, with one thread each. ``--recorded`` counts the runs in
``benchmarks/records`` as there too; ``--record`` adds those of this machine to them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import records
from benchmarks.accuracy_run import Job, run
from benchmarks.accuracy_table import Result, Table, found_results
from benchmarks.protocols import CEILING, JUDGED, PROTOCOLS, UNLABELLED
from benchmarks.sets import data_folder, load_set, write_figures
from benchmarks.side_by_side import run_side_by_side
from lib.config import METHODS, Config
from lib.errors import ConfigError
from lib.methods.requirements import MUTUAL

# what the protocol or an option of this script says
FIXED = (
    "method", "seed", "iterations", "epochs", "minutes", "modalities", "validation", "pretrained", "threads", "model",
)  # fmt: skip


def main() -> int:
    given = parser()
    args = given.parse_args()
    args.results = args.results.resolve()
    if args.job:
        return run(Job(**json.loads(args.job)), data_folder(args.studies), args.results, args.threads)
    if not (args.set or args.report):
        given.error("name a --set, or ask for the --report")
    try:
        conf = dict(map(setting, args.conf))
        Config.from_conf(conf)
    except ConfigError as error:
        given.error(str(error))
    failed = [] if args.report else run_all(jobs(args, conf), args)
    if args.record:
        records.keep("accuracy", map(record, found_results(args.results)), lambda each: job_key(each["job"]))
    shown = report(args)
    for line in failed:
        print(f"Failed: {line}", file=sys.stderr)
    return 1 if failed or not shown else 0


def jobs(args: argparse.Namespace, conf: dict[str, str]) -> list[Job]:
    """Seed by seed, so that an early table has all methods."""
    protocol = PROTOCOLS[args.set]
    labelled = args.labelled or next(iter(protocol.methods))
    modalities = load_set(data_folder(args.studies), args.set).modalities
    return [
        Job(args.set, labelled, args.judged, method, series, conf, args.iterations or protocol.iterations, seed)
        for seed in range(args.seeds)
        for method in args.methods or protocol.methods_for(labelled)
        for series in (modalities if modalities and method != MUTUAL else ("",))
        if (method, args.judged) != (CEILING, UNLABELLED)  # to which nothing was unlabelled
    ]


def run_all(wanted: Sequence[Job], args: argparse.Namespace) -> list[str]:
    """Those that are not there yet; returns those that failed."""
    known = {job_key(each["job"]) for each in recorded(args)}
    missing = [
        job
        for job in wanted
        if not (job.folder(args.results) / "result.json").is_file() and job_key(asdict(job)) not in known
    ]
    print(f"{args.set}: {len(wanted) - len(missing)} of {len(wanted)} runs are there", file=sys.stderr, flush=True)
    own = ["--studies", str(data_folder(args.studies)), "--results", str(args.results), "--threads", str(args.threads)]
    commands = {job.title: [__file__, *own, "--job", json.dumps(asdict(job))] for job in missing}
    return run_side_by_side(commands, args.jobs)


def report(args: argparse.Namespace) -> bool:
    """Print the tables of what is there and write their figures; false if there is nothing."""
    own = {job_key(each["job"]): each for each in [*recorded(args), *found_results(args.results)]}
    results = [
        each for each in own.values() if each["job"]["judged"] == args.judged and each["job"]["seed"] < args.seeds
    ]
    figures: dict[str, float] = {}
    for name, protocol in PROTOCOLS.items():
        length = args.iterations or protocol.iterations
        own = [each for each in results if each["job"]["set"] == name and each["job"]["iterations"] == length]
        counts = {each["job"]["labelled"] for each in own if each["job"]["method"] != CEILING}
        for labelled in sorted(counts if args.labelled is None else counts & {args.labelled}):
            if args.set in (None, name):
                table = Table(own, name, labelled, args.seeds)
                print(f"\n{table.text(args.markdown)}")
                figures |= table.figures()
    if not figures:
        print(f"There are no such results in {args.results}", file=sys.stderr)
    write_figures(args.json, figures)
    return bool(figures)


def recorded(args: argparse.Namespace) -> list[Result]:
    """The records of the repository, if they are to count."""
    return records.read("accuracy") if args.recorded else []


def record(result: Result) -> Result:
    """What is kept of a result: no single cases, and nothing of this machine but its cores."""
    judged = {
        series: {key: value for key, value in scores.items() if key != "cases"}
        for series, scores in result["judged"].items()
    }
    around = {key: result["environment"][key] for key in ("python", "cores", "packages")}
    rest = {key: value for key, value in result.items() if key not in ("manifest", "memory_mb")}
    return rest | {"judged": judged, "environment": around}


def job_key(job: Mapping[str, Any]) -> str:
    """The same for the same run; in its order the tables are read."""
    labelled = "all" if job["method"] == CEILING else job["labelled"]
    rest = [job[part] for part in ("judged", "method", "series", "iterations", "seed")]
    return json.dumps([job["set"], labelled, *rest, *sorted(job["conf"].items())])


def setting(text: str) -> tuple[str, str]:
    """Key and value of one ``--conf``.

    Raises:
        ConfigError: it is no pair, or its key is not free here.
    """
    key, sign, value = text.partition("=")
    if not sign:
        raise ConfigError(f"--conf takes KEY=VALUE, and '{text}' is not")
    if key in FIXED:
        raise ConfigError(f"--conf cannot change {key}: it is the protocol's, or an option of this script")
    return key, value


def parser() -> argparse.ArgumentParser:
    given = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    given.add_argument("--studies", help="folder of the sets (else SEMISEG_DATA)")
    given.add_argument("--set", choices=list(PROTOCOLS), help="to run; of --report the only one to show")
    given.add_argument("--labelled", type=int, help="labelled patients, scans or pictures; default by the set")
    given.add_argument("--methods", nargs="+", choices=[*METHODS, CEILING], help="default by the set")
    given.add_argument("--seeds", type=int, default=3, help="number of seeds")
    given.add_argument("--iterations", type=int, help="training length; default by the set")
    given.add_argument(
        "--judged", default=JUDGED[0], choices=JUDGED,
        help="on other cases, for choices: of a training without them, or the unlabelled ones of the final training",
    )  # fmt: skip
    given.add_argument("--conf", nargs="+", default=[], metavar="KEY=VALUE", help="other settings, for ablations")
    given.add_argument("--jobs", type=int, default=2, help="runs at a time")
    given.add_argument("--threads", type=int, default=1, help="CPU threads of a run")
    given.add_argument("--results", type=Path, default=Path("benchmarks/results/accuracy"), help="folder of the runs")
    given.add_argument("--report", action="store_true", help="only show what is there")
    given.add_argument("--recorded", action="store_true", help="the runs in benchmarks/records are there too")
    given.add_argument("--record", action="store_true", help="add what is in --results to benchmarks/records")
    given.add_argument("--markdown", action="store_true", help="tables as Markdown")
    given.add_argument("--json", help="write the figures here")
    given.add_argument("--job", help=argparse.SUPPRESS)  # one run, in its own process
    return given


if __name__ == "__main__":
    sys.exit(main())
