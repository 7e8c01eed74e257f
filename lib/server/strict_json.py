"""JSON of clients, without what Python reads and cannot always write again.

``NaN``, infinities, half of a surrogate pair and bottomless nesting pass ``json.loads``, are kept with a study or a
task, and make every later answer that shows them fail. So they stay outside.
"""

from __future__ import annotations

import json
import math
from typing import Any

from lib.errors import ConfigError

DEEPEST = 32  # levels; the clients' requests have four


def parse(text: str | bytes, what: str) -> Any:
    """The value that a JSON text holds (RFC 8259).

    Args:
        what: names the text in sentences, such as ``The body``.

    Raises:
        ConfigError: not JSON in UTF-8, a number out of bounds, half a character, or deeper than 32 levels.
    """
    try:
        value = json.loads(text, parse_constant=_no_constant, parse_float=_finite)
        if _depth(value) > DEEPEST:
            raise RecursionError
        json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ConfigError(f"{what} is nested deeper than {DEEPEST} levels") from None
    except UnicodeError:
        raise ConfigError(f"{what} is not JSON in UTF-8") from None
    except ValueError as error:
        raise ConfigError(f"{what} is not JSON: {str(error)[:120]}") from None
    return value


def parse_object(text: str | bytes | None, what: str) -> dict[str, Any]:
    """The same where only an object, ``{...}``, makes sense; nothing at all and ``null`` are an empty one."""
    value = parse(text, what) if text else None
    if not isinstance(value, dict | None):
        raise ConfigError(f"{what} is not a JSON object, {{...}}")
    return value or {}


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is beyond the largest number")
    return number


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _depth(value: Any) -> int:
    deepest, rest = 0, [(value, 1)]
    while rest:
        part, level = rest.pop()
        deepest = max(deepest, level)
        if isinstance(part, dict | list) and level <= DEEPEST:
            rest += [(item, level + 1) for item in (part.values() if isinstance(part, dict) else part)]
    return deepest
