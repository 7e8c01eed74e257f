"""Draws the figures of ``docs/explanation/methods.md`` from ``figures.py``: ``python docs/images/methods/draw.py``."""

from __future__ import annotations

import re
from pathlib import Path
from xml.sax.saxutils import escape

from figures import FIGURES

PITCH, ROW, WIDTH, HEIGHT, MARGIN = 150, 66, 124, 44, 18  # pixels
STYLE = """\
  text { font: 12px "DejaVu Sans", Verdana, sans-serif; fill: #222; text-anchor: middle }
  text.note { font-size: 11px; font-style: italic; fill: #666; text-anchor: start }
  rect { stroke-width: 1.4 }
  .page { fill: #fff; stroke: #d0d0d0 }
  .view { fill: #e4f0fa; stroke: #3b7fb8 }
  .label { fill: #e3f3e5; stroke: #3a8a48 }
  .network { fill: #ededed; stroke: #444 }
  .teacher { fill: #f6f6f6; stroke: #777; stroke-dasharray: 5 3 }
  .pseudo { fill: #fff1da; stroke: #c9821b }
  .embedding { fill: #f3eafa; stroke: #7a4fb0 }
  .loss { fill: #fde5e2; stroke: #c0392b }
  path { fill: none; stroke: #444; stroke-width: 1.4; marker-end: url(#head) }
  path.stop { stroke-dasharray: 6 4 }
  path.follows { stroke: #7a4fb0; stroke-width: 2; stroke-dasharray: 2 3.5 }
"""
HEAD = '<marker id="head" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="7" markerHeight="7" orient="auto" ' \
    'markerUnits="userSpaceOnUse"><polygon points="0,0.5 8,4 0,7.5" fill="#444"/></marker>'  # fmt: skip
ARROWS = {">": "learns", "~": "stop", "^": "follows"}
TEXT = 4  # from the middle of a line of text down to its base


def draw(name: str) -> str:
    """The SVG of this figure."""
    title, boxes, arrows, notes = FIGURES[name]
    columns, rows = zip(*((column, row) for _, column, row, _ in boxes.values()), strict=True)
    width = 2 * MARGIN + WIDTH + PITCH * max(columns)
    height = 2 * MARGIN + HEIGHT + ROW * max(*rows, *(row - 0.35 for _, row, _ in notes), 0)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>\n{STYLE}</style>\n{HEAD}",
        f'<rect class="page" x="1" y="1" width="{width - 2:g}" height="{height - 2:g}" rx="10"/>',
        *(_arrow(boxes[a], boxes[b], ARROWS[sign]) for a, sign, b in re.findall(r"(\w+)([>~^])(\w+)", arrows)),
        *(_box(*box) for box in boxes.values()),
        *(f'<text class="note" x="{_x(a):g}" y="{_y(b) + TEXT:g}">{escape(text)}</text>' for a, b, text in notes),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _x(column: float) -> float:
    return MARGIN + PITCH * column


def _y(row: float) -> float:
    return MARGIN + HEIGHT / 2 + ROW * row


def _box(kind: str, column: float, row: float, text: str) -> str:
    x, y, lines = _x(column), _y(row), text.split("|")
    corner = HEIGHT / 2 if kind == "loss" else 5
    box = f'<rect class="{kind}" x="{x:g}" y="{y - HEIGHT / 2:g}" width="{WIDTH}" height="{HEIGHT}" rx="{corner:g}"/>'
    first = y + TEXT - 7.5 * (len(lines) - 1)
    texts = (
        f'<text x="{x + WIDTH / 2:g}" y="{first + 15 * number:g}">{escape(line)}</text>'
        for number, line in enumerate(lines)
    )
    return box + "".join(texts)


def _arrow(source: tuple, target: tuple, kind: str) -> str:
    """From edge to edge: sideways to another column, else up or down."""
    (_, column, row, _), (_, column2, row2, _) = source, target
    x, y, x2, y2 = _x(column), _y(row), _x(column2), _y(row2)
    if column != column2 and kind != "follows":
        right = column2 > column
        x, x2 = (x + WIDTH, x2) if right else (x, x2 + WIDTH)
        bends = f"{(x + x2) / 2:g},{y:g} {(x + x2) / 2:g},{y2:g}"
    else:
        x, x2 = x + WIDTH / 2, x2 + WIDTH / 2
        down = 1 if row2 >= row else -1
        around = column != column2 and row2 - row <= 1  # a neighbour: enters it from below
        y, y2 = y + down * HEIGHT / 2, y2 + (down if around else -down) * HEIGHT / 2
        bend = (0.8 if around else 0.3) * ROW * down
        bends = f"{x:g},{y + bend:g} {x2:g},{y2 + (bend if around else -bend):g}"
    return f'<path class="{kind}" d="M{x:g},{y:g} C{bends} {x2:g},{y2:g}"/>'


if __name__ == "__main__":
    for name in FIGURES:
        (Path(__file__).parent / f"{name}.svg").write_text(draw(name))
