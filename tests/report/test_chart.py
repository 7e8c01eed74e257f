"""A curve as SVG: every point where its numbers say, gaps as gaps, and words for those who do not see it."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from lib.report.chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, line_chart
from lib.report.curves import Curve


def points(svg: str) -> list[list[tuple[float, float]]]:
    lines = [each.attrib["points"].split() for each in ElementTree.fromstring(svg).iter("polyline")]
    return [[tuple(map(float, pair.split(","))) for pair in line] for line in lines]  # type: ignore[misc]


def test_the_lowest_value_lies_at_the_bottom_and_the_highest_at_the_top() -> None:
    (line,) = points(line_chart("loss", [(10, 3.0), (20, 1.0), (40, 2.0)]))
    middle = LEFT + (WIDTH - LEFT - RIGHT) / 3
    expected = [(LEFT, TOP), (middle, HEIGHT - BOTTOM), (WIDTH - RIGHT, (TOP + HEIGHT - BOTTOM) / 2)]
    assert [pytest.approx(pair, abs=0.06) for pair in expected] == line


def test_a_gap_parts_the_line_and_a_lone_point_is_a_dot() -> None:
    curve: Curve = [(0, 1.0), (1, 2.0), (2, None), (3, 1.0), (4, None), (5, 2.0), (6, 1.0)]
    svg = line_chart("loss", curve)
    assert [len(line) for line in points(svg)] == [2, 2]
    assert svg.count("<circle") == 1


def test_the_values_are_said_in_words() -> None:
    root = ElementTree.fromstring(line_chart("a<b", [(0, 0.5), (9, 0.25)]))
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"] == "a<b over iterations 0 to 9: first 0.5, lowest 0.25, highest 0.5, last 0.25"


def test_a_level_curve_is_drawn_and_one_without_numbers_said() -> None:
    (line,) = points(line_chart("level", [(0, 2.0), (9, 2.0)]))
    assert {y for _, y in line} == {TOP}
    assert "not one finite value" in line_chart("lost", [(0, None)])
