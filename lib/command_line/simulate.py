"""``simulate``: which strategy needs the fewest labels on studies whose labels are known already."""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Sequence

from tqdm import tqdm

from lib.command_line.output import tell
from lib.command_line.statuses import DONE
from lib.config import STRATEGIES, Config
from lib.device import limit_threads
from lib.errors import ConfigError, NotReadyError
from lib.simulation.annotator import Player, Round
from lib.simulation.report import write_report
from lib.studies.cases import Case
from lib.studies.labels import label_map
from lib.studies.modalities import project_cases

LEAST = 2  # studies to judge on
SHARE = 0.2  # of the studies with labels, if the user does not say how many


def run_simulate(options: argparse.Namespace, config: Config) -> int:
    """Play the annotator with each strategy and seed; what an earlier call has played is not played again."""
    limit_threads(config)
    strategies = checked(options.strategies.split(","))
    if config.modalities:
        raise ConfigError("Patients of several modalities cannot be simulated; name one modality's studies alone")
    cases = [case for case in project_cases(options.studies) if case.label]
    pool, judged = sides(cases, options.judged)
    labels = label_map(config, options.studies, cases)
    player = Player(pool, judged, labels, config)
    runs = [(strategy, seed) for seed in range(options.seeds) for strategy in strategies]
    played: dict[tuple[str, int], list[Round]] = {}
    options.output.mkdir(parents=True, exist_ok=True)
    with tqdm(total=len(runs) * options.rounds, unit="round", disable=not sys.stderr.isatty()) as bar:
        for strategy, seed in runs:
            folder = options.output / f"{strategy}-{seed}"

            def told(each: Round, name: str = folder.name) -> None:
                tqdm.write(f"{name}: {len(each.labelled)} labels, Dice {each.dice:.4f}", file=sys.stderr)

            played[strategy, seed] = player.play(
                strategy, seed, options.rounds, options.per_round, folder, lambda _: None, told
            )
            bar.update(options.rounds)
    found = write_report(played, options.output)
    ranked = sorted(found.items(), key=lambda item: -item[1].auc)
    files = [str(options.output / f"simulation.{ending}") for ending in ("json", "csv", "png")]
    about = {name: {"auc": each.auc, "auc_sd": each.auc_sd, "dice": each.last} for name, each in ranked}
    lines = [
        f"{len(pool)} studies to label, {len(judged)} judged, {options.seeds} seeds; area under Dice over labels:",
        *(f"{name:18} {each.auc:.4f} (sd {each.auc_sd:.4f})  Dice at the end {each.last:.4f}" for name, each in ranked),
        f"Written: {options.output / 'simulation.json'}, .csv and .png",
    ]
    tell(options, {"strategies": about, "files": files}, "\n".join(lines))
    return DONE


def checked(strategies: Sequence[str]) -> list[str]:
    """Names of strategies, each once.

    Raises:
        ConfigError: one that does not exist.
    """
    for name in strategies:
        if name not in STRATEGIES:
            raise ConfigError(f"Strategy '{name}' does not exist; choose from: {', '.join(STRATEGIES)}")
    return list(dict.fromkeys(strategies))


def sides(cases: Sequence[Case], judged: int | None) -> tuple[list[Case], list[Case]]:
    """The studies to choose from and those to judge on, by a hash of the id: the same whoever asks.

    Args:
        judged: how many to judge on; None: a fifth.

    Raises:
        NotReadyError: nothing is left to choose from.
    """
    ordered = sorted(cases, key=lambda case: hashlib.sha256(case.id.encode()).hexdigest())
    count = judged or max(LEAST, round(SHARE * len(ordered)))
    if len(ordered) <= count:
        raise NotReadyError(
            f"{len(ordered)} studies have a label in labels/final: too few to judge on {count} and choose from the rest"
        )
    return ordered[count:], ordered[:count]
