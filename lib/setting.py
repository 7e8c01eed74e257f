"""One setting: its field in a dataclass, its bounds, its text form, its row in the table of all."""

from __future__ import annotations

import dataclasses
import json
import re
from math import inf
from typing import Any

from lib.errors import ConfigError

Choices = tuple[str, ...]


def setting(
    default: Any, text: str, unit: str = "", choices: Choices = (), low: float = -inf, high: float = inf, form: str = ""
) -> Any:
    """A dataclass field with what the checks and the table need; ``form`` is a regular expression of each text."""
    metadata = {"text": text, "unit": unit, "choices": choices, "low": low, "high": high, "form": form}
    return dataclasses.field(default=default, metadata=metadata)


def require(condition: bool, sentence: str) -> None:
    """Refuse with this sentence unless the condition holds."""
    if not condition:
        raise ConfigError(sentence[0].upper() + sentence[1:])


def check(field: dataclasses.Field, value: Any) -> None:
    """Refuse what is not among the field's choices, not of its form or outside of its bounds."""
    meta = field.metadata
    if meta["choices"]:
        require(
            value in meta["choices"],
            f"{field.name} '{value}' does not exist; choose one of: {', '.join(meta['choices'])}",
        )
    for number in value if isinstance(value, tuple) else (value,):
        if meta["form"] and not re.fullmatch(meta["form"], number):
            raise ConfigError(f"Setting {field.name}: '{number}' cannot be read; the table of settings shows its form")
        if isinstance(number, (int, float)) and not isinstance(number, bool):
            inside = meta["low"] <= number <= meta["high"]  # also refuses NaN
            require(inside, f"{field.name} = {number} is outside of [{meta['low']:g}, {meta['high']:g}]")


def parse(key: str, value: Any, kind: Any) -> Any:
    """``value`` as ``kind``; text is read as --conf gives it, anything else must already fit."""
    try:
        if kind is bool:
            return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[
                str(value).strip().lower()
            ]
        if kind in (int, float, str):
            if kind is int and float(value) != int(float(value)):
                raise ValueError
            return str(value).strip() if kind is str else kind(float(value))
        item = kind.__args__[0]
        if isinstance(value, str):
            value = (
                json.loads(value)
                if value.strip().startswith("[")
                else [part for part in value.split(",") if part.strip()]
            )
        return tuple(parse(key, part, item) for part in value)
    except (KeyError, ValueError, TypeError, OverflowError):
        name = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}.get(
            kind, "a comma-separated list"
        )
        raise ConfigError(f"Setting {key} = {value!r} is not {name}") from None


def table_of(settings: type) -> str:
    """The settings as a Markdown table."""
    rows = ["| key | default | unit | what it does |", "|---|---|---|---|"]
    for field in dataclasses.fields(settings):
        shown = default_text(field.default)
        choices = f" ({', '.join(field.metadata['choices'])})" if field.metadata["choices"] else ""
        text, unit = field.metadata["text"], field.metadata["unit"]
        rows.append(f"| `{field.name}` | {f'`{shown}`' if shown else 'empty'} | {unit} | {text}{choices} |")
    return "\n".join(rows)


def default_text(value: Any) -> str:
    """A default as --conf would have it."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
