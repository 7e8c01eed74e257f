"""One curve as a drawing in SVG that takes its colours from the page, so it fits light, dark and paper."""

from __future__ import annotations

from html import escape
from itertools import groupby

from lib.report.curves import Curve

WIDTH, HEIGHT = 320, 150  # of the drawing's own units
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 10, 24  # around the curve, for the numbers of its axes


def line_chart(title: str, curve: Curve) -> str:
    """The curve as an ``<svg>`` element; screen readers are told its first, lowest, highest and last value.

    Args:
        curve: (iteration, value), None where there is no number; the line has a gap there.
    """
    known = [(step, value) for step, value in curve if value is not None]
    if not known:
        return f'<p class="note">{escape(title)}: not one finite value.</p>'
    low, high = min(value for _, value in known), max(value for _, value in known)
    start, end = curve[0][0], curve[-1][0]
    lines = "".join(_line(part, (start, end), (low, high)) for part in _unbroken(curve))
    spoken = (
        f"{title} over iterations {start} to {end}: first {known[0][1]:.4g}, lowest {low:.4g}, highest {high:.4g}, "
        f"last {known[-1][1]:.4g}"
    )
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    texts = [_text(LEFT - 6, TOP + 4, "end", f"{high:.3g}"), _text(LEFT, HEIGHT - 6, "start", str(start))]
    texts += [_text(LEFT - 6, bottom + 4, "end", f"{low:.3g}")] if high > low else []
    texts += [_text(right, HEIGHT - 6, "end", str(end))] if end > start else []
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(spoken)}">'
        f'<path class="axis" d="M{LEFT} {TOP}V{bottom}H{right}"/>{lines}{"".join(texts)}</svg>'
    )


def _unbroken(curve: Curve) -> list[list[tuple[int, float]]]:
    """The parts between the gaps."""
    parts = groupby(curve, key=lambda point: point[1] is not None)
    return [[(step, value) for step, value in part if value is not None] for there, part in parts if there]


def _line(part: list[tuple[int, float]], steps: tuple[int, int], values: tuple[float, float]) -> str:
    across = [LEFT + _share(step, *steps) * (WIDTH - LEFT - RIGHT) for step, _ in part]
    up = [HEIGHT - BOTTOM - _share(value, *values) * (HEIGHT - TOP - BOTTOM) for _, value in part]
    if len(part) == 1:
        return f'<circle class="point" cx="{across[0]:.1f}" cy="{up[0]:.1f}" r="2.5"/>'
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, up, strict=True))
    return f'<polyline class="curve" points="{points}"/>'


def _share(value: float, low: float, high: float) -> float:
    """Where it lies between the two, 0 to 1; of equal ones at the top, where the axis has its number."""
    return (value - low) / (high - low) if high > low else 1.0


def _text(x: float, y: float, anchor: str, text: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'
