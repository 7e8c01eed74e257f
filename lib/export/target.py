"""Where an export is written to."""

from __future__ import annotations

from pathlib import Path

from lib.errors import ConfigError


def check_new(folder: Path) -> None:
    """Refuse a folder with something in it, so that an export never mixes with what was there.

    Raises:
        ConfigError: it is there and not empty, or is a file.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is there and not empty; name a new folder")
