"""What several commands need: the project that the settings name, its model, a bar over studies."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from tqdm import tqdm

from lib.command_line.parser import given_settings
from lib.config import Config
from lib.device import limit_threads
from lib.errors import ConfigError, NotReadyError
from lib.inference.segmenter import Segmenter
from lib.training.distribution import first, own_device, process_group, processes, rank
from lib.training.model_folder import ModelFolder
from lib.training.progress import PlainLines

PATIENCE = timedelta(days=7)  # until the last process has ended its share


def project_folder(options: argparse.Namespace, config: Config) -> ModelFolder:
    """The model folder of these studies, or the one that ``--model`` names.

    Raises:
        ConfigError: that is a file.
    """
    if config.model and Path(config.model).is_file():
        raise ConfigError(f"--model {config.model} is a file; this command needs the folder of a project")
    return ModelFolder.of(config, options.studies)


def published(options: argparse.Namespace, config: Config) -> Segmenter:
    """The model of :func:`published_file`, made ready for images."""
    limit_threads(config)
    overlap = config.overlap if "overlap" in given_settings(options) else None
    return Segmenter.load(published_file(options, config), config.device, overlap)


def published_file(options: argparse.Namespace, config: Config) -> Path:
    """The published model that ``--model`` names as a file, else the live one of the model folder.

    Raises:
        NotReadyError: there is none.
    """
    file = Path(config.model) if config.model and Path(config.model).is_file() else project_folder(options, config).live
    if file is None:
        place = project_folder(options, config).path
        raise NotReadyError(f"There is no model in {place} yet; train one first, or name one with --model")
    return file


@contextmanager
def together(config: Config) -> Iterator[tuple[Config, tuple[int, int]]]:
    """Under ``torchrun``: the settings with the device of this process, and its share of any list as (rank, processes).

    Alone the share is all of it. Processes have to meet in :func:`lib.training.distribution.summed` at the end:
    ``torchrun`` ends the others as soon as one fails. They exchange counts only, so gloo will do on GPUs too.
    """
    with process_group("cpu", PATIENCE):
        yield config.replace(device=str(own_device(config.device))), (rank(), processes())


@contextmanager
def study_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """Progress as a function of (done, of): a bar on a terminal, else plain lines; one process speaks for all."""
    pace = PlainLines("studies")
    with tqdm(desc=title, unit="study", disable=not (sys.stderr.isatty() and first())) as bar:

        def show(done: int, of: int) -> None:
            bar.total = of
            bar.update(done - bar.n)
            line = pace.line(title, done, of) if bar.disable and first() else None
            if line:
                print(line, file=sys.stderr, flush=True)

        yield show
