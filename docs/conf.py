"""How Sphinx builds these pages: ``make docs``. A broken link, anchor or docstring is an error."""

import sys
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

project = "semiseg"
html_title = "semiseg"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["images/methods/*.py"]

myst_heading_anchors = 4  # links to page.md#heading are checked down to this level
highlight_language = "text"  # of blocks that name none: formulas, folders

html_theme = "furo"  # no font, script or style of another server; the search runs in the browser
html_show_sourcelink = False
html_copy_source = False

napoleon_use_ivar = True  # of a class, what Attributes says is not listed a second time
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True


def write_api(app: Sphinx) -> None:
    """A page for each room of ``lib/``, made of its docstrings; they are no part of the repository."""
    pages = Path(app.srcdir) / "reference" / "api"
    if not pages.with_suffix(".md").exists():
        return  # other pages, built by this file
    pages.mkdir(exist_ok=True)
    rooms: dict[str, list[str]] = {}
    for file in sorted((ROOT / "lib").rglob("*.py")):
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        if file.name != "__init__.py":
            rooms.setdefault(name.split(".")[1] if name.count(".") > 1 else "lib", []).append(name)
    for room, modules in rooms.items():
        title = "lib" if room == "lib" else f"lib.{room}"
        sections = [f"{name}\n{'-' * len(name)}\n\n.. automodule:: {name}\n" for name in modules]
        text = "\n".join([f"{title}\n{'=' * len(title)}\n", *sections])
        page = pages / f"{room}.rst"
        if not page.exists() or page.read_text() != text:  # else Sphinx would read it again
            page.write_text(text)


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("builder-inited", write_api)
