"""What a command prints in the end: words for the eye, or with ``--json`` the same for scripts.

Only results go to the standard output; bars, sentences and warnings go to the error output.
"""

from __future__ import annotations

import argparse
import json
from typing import Any


def add_json(command: argparse.ArgumentParser) -> None:
    """The option ``--json``."""
    command.add_argument("--json", action="store_true", help="print JSON, for scripts")


def tell(options: argparse.Namespace, found: Any, words: str) -> None:
    """Print what was found, in the form that was asked for; nothing where there are no words."""
    if options.json:
        print(json.dumps(found, indent=1, allow_nan=False))
    elif words:
        print(words)


def json_line(found: Any) -> str:
    """One of many results, on a line of its own: it can be read before the next one is there."""
    return json.dumps(found, allow_nan=False)
