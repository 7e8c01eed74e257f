"""What others call says what it is, and arrays say their axes: what ``docs/reference/api.md`` is made of."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NAMES = [
    ".".join(file.relative_to(ROOT).with_suffix("").parts)
    for file in sorted((ROOT / "lib").rglob("*.py"))
    if file.name != "__init__.py"
]
ARRAY = re.compile(r"\b(NDArray|ndarray|Tensor|MetaTensor|Array)\b")
# (X, Y, Z), ``(n,)``, ``(2 B, C, ...)``, 4x4; or that all of them have one shape, or none
SHAPE = re.compile(r"``\([^`]*,[^`]*\)|\([A-Z]\w*, [^()]*\)|\b\dx\d\b|\bshapes?\b|\bscalar\b")
FUNCTIONS = (type(re.compile), property, classmethod, staticmethod)


def of_module(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Name and object of the public classes, functions, methods and properties that a module defines."""
    for name, found in vars(module).items():
        if name.startswith("_") or getattr(found, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(found) or inspect.isfunction(found):
            yield name, found
        if inspect.isclass(found):
            for key, value in vars(found).items():
                if not key.startswith("_") and isinstance(value, FUNCTIONS) and not of_a_library(found, key):
                    yield f"{name}.{key}", value


def of_a_library(kind: type, name: str) -> bool:
    """A class of another package asks for this method, and explains it."""
    return any(name in vars(base) for base in kind.__mro__[1:] if not base.__module__.startswith("lib."))


def signature(found: Any) -> str:
    """The types of what goes in and comes out, as they are written."""
    call = found.fget if isinstance(found, property) else getattr(found, "__func__", found)
    return " ".join(map(str, call.__annotations__.values()))


@pytest.mark.parametrize("name", NAMES)
def test_everything_public_is_explained_and_arrays_have_axes(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__, f"{name} has no docstring"
    found = list(of_module(module))
    explained = {key: text(module, key, each) for key, each in found}
    assert [key for key, said in explained.items() if not said] == [], "no docstring"
    arrays = [key for key, each in found if not inspect.isclass(each) and ARRAY.search(signature(each))]
    assert [key for key in arrays if not SHAPE.search(explained[key])] == [], "no shape"


def text(module: ModuleType, name: str, found: Any) -> str:
    """The docstring, for a method without one that of the base class, as the pages have it."""
    if inspect.isclass(found):
        own = vars(found).get("__doc__") or ""
        return "" if own.startswith(f"{name}(") else own  # a dataclass without one is given its signature
    owner, _, key = name.rpartition(".")
    return inspect.getdoc(getattr(getattr(module, owner), key) if owner else found) or ""


def test_what_has_no_shape_is_seen() -> None:
    for good in (
        "Of (X, Y, Z).",
        "``(n,)``",
        "``(B, C, ...)``",
        "a 4x4 affine",
        "of the same shape",
        "``(len(ids), columns)``",
    ):
        assert SHAPE.search(good), good
    for bad in ("Add it (or not, as it may be).", "The label, on its grid.", "see (Dice 1945)"):
        assert not SHAPE.search(bad), bad
