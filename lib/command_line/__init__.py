"""The command line: everything but serving, without a server.

``python apps/semiseg/main.py train --studies DIR``; every setting of :mod:`lib.config` is an option of every command.
A failure is one sentence on the error output and the exit status ``FAILED``; so is a study that had to be left out.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Sequence

from lib.command_line.parser import build_parser, given_settings
from lib.command_line.statuses import FAILED, INTERRUPTED
from lib.config import Config
from lib.errors import SemisegError

HARMLESS = ("Using a non-tuple sequence", ".*get_mask_edges:always_return_as_numpy")  # of MONAI 1.5.2, about itself


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = build_parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("lib").setLevel(logging.INFO)
    for message in HARMLESS:
        warnings.filterwarnings("ignore", message)
    try:
        if options.command == "users":
            from lib.command_line.users import run_users

            return run_users(options)
        config = Config.from_conf(given_settings(options))
        from lib.command_line.commands import COMMANDS  # loads torch, for which --help need not wait

        return COMMANDS[options.command](options, config)
    except SemisegError as error:
        print(error, file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return INTERRUPTED
