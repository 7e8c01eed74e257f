"""The rooms of ``docs/explanation/architecture.md``: who may import whom, without a cycle, in files one can read."""

from __future__ import annotations

import ast
import graphlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LONGEST = 300  # lines
SERVER_ROOMS = {"server", "dicom"}  # where lib may import monailabel


def modules(root: Path) -> dict[str, Path]:
    """Dotted name -> file of everything in lib/."""
    files = sorted((root / "lib").rglob("*.py"))
    return {".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


def imports(file: Path) -> Iterator[str]:
    """All names a file imports, wherever in it: ``from a.b import c`` gives a.b and a.b.c."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file} imports relatively; write the whole name"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def graph(root: Path) -> dict[str, set[str]]:
    """Module of lib -> modules of lib it imports."""
    known = modules(root)
    return {name: {other for other in imports(file) if other in known} - {name, "lib"} for name, file in known.items()}


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def permissions(page: str) -> dict[str, set[str]]:
    """Room -> rooms it may import, by the page's table; what an imported room may import is allowed too."""
    table = re.findall(r"^\| `lib/(\w+)(?:/|\.py)` \|.*\| ([^|]+) \|$", page, flags=re.MULTILINE)
    rooms = {name for name, _ in table}
    allowed: dict[str, set[str]] = {}
    for name, text in table:
        if text.startswith("all"):
            allowed[name] = rooms - set(re.findall(r"all but (\w+)", text))
        else:
            allowed[name] = set() if text.startswith("nothing") else {word.strip() for word in text.split(",")}
        assert allowed[name] <= rooms, f"{name} may import {allowed[name] - rooms}, which the table does not have"
    for _ in rooms:
        allowed = {name: may.union(*(allowed[other] for other in may)) for name, may in allowed.items()}
    return allowed


def forbidden(root: Path, allowed: dict[str, set[str]]) -> list[str]:
    """Imports of one room by another that the table does not allow."""
    found = []
    for name, others in graph(root).items():
        may = allowed.get(room(name), set()) | {room(name), ""}
        found += [f"{name} imports {other}" for other in sorted(others) if room(other) not in may]
    return found


def test_no_room_imports_what_the_page_does_not_allow() -> None:
    page = (ROOT / "docs/explanation/architecture.md").read_text()
    allowed = permissions(page)
    assert {room(name) for name in modules(ROOT)} - {""} <= set(allowed), "each room has a row in the page's table"
    assert forbidden(ROOT, allowed) == []


def test_no_files_import_each_other() -> None:
    graphlib.TopologicalSorter(graph(ROOT)).prepare()  # raises CycleError, which names the cycle


def test_only_the_servers_rooms_know_monailabel() -> None:
    knows = {name for name, file in modules(ROOT).items() if any(re.match(r"monailabel\b", i) for i in imports(file))}
    assert {name for name in knows if room(name) not in SERVER_ROOMS} == set()


def test_files_are_short_enough_to_read() -> None:
    files = [*modules(ROOT).values(), *(ROOT / "apps").rglob("*.py")]
    lengths = {str(file.relative_to(ROOT)): len(file.read_text().splitlines()) for file in files}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST} == {}


PAGE = """
| room | what it owns | may import |
|---|---|---|
| `lib/errors.py` | | nothing of ours |
| `lib/studies/` | | errors |
| `lib/methods/` | | studies |
| `lib/server/` | | all |
"""


def write(root: Path, **files: str) -> Path:
    for name, text in files.items():
        file = root / "lib" / f"{name.replace('_', '/')}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def test_an_import_upwards_is_seen(tmp_path: Path) -> None:
    upwards = "def f():\n    from lib.methods import b"
    write(tmp_path, errors="", studies_a=upwards, methods_b="from lib.errors import E")
    assert permissions(PAGE)["methods"] == {"studies", "errors"}
    assert forbidden(tmp_path, permissions(PAGE)) == ["lib.studies.a imports lib.methods.b"]


def test_a_cycle_is_seen(tmp_path: Path) -> None:
    a, b, c = "import lib.studies.b", "from lib.studies import c", "import lib.studies.a"
    write(tmp_path, studies_a=a, studies_b=b, studies_c=c)
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter(graph(tmp_path)).prepare()
