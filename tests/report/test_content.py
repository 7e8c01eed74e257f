"""The report's values are those of the manifest, sorted for readers."""

from __future__ import annotations

from pathlib import Path

from lib.config import Config
from lib.report.content import case_means, report_content, settings


def test_changed_settings_come_first_with_their_defaults() -> None:
    found = settings(Config(seed=7, minutes=3.0).to_dict() | {"a_setting_of_another_version": 1})
    assert {each["name"] for each in found[:2]} == {"seed", "minutes"}
    assert [each["changed"] for each in found] == [True, True] + [False] * (len(found) - 2)
    assert len(found) == len(Config().to_dict())
    seed = next(each for each in found if each["name"] == "seed")
    assert (seed["value"], seed["default"]) == (7, Config().seed)


def test_cases_are_sorted_by_the_mean_over_their_classes() -> None:
    manifest = {"dice_by_case": {"b": {"x": 0.5, "y": 1.0}, "a": {"x": 0.25, "y": 0.75}, "c": {"x": 0.5, "y": 0.5}}}
    assert list(case_means(manifest).items()) == [("a", 0.5), ("c", 0.5), ("b", 0.75)]


def test_monitors_are_summed_up_from_their_curves(tmp_path: Path) -> None:
    curves = {"monitor/agreement": [(10, 0.5), (20, None), (30, 0.25), (40, 0.375)], "training/loss": [(10, 1.0)]}
    found = report_content(tmp_path, {"warnings": ["Too little"]}, curves, [])  # type: ignore[arg-type]
    assert found["monitors"] == {"agreement": {"first": 0.5, "low": 0.25, "high": 0.5, "last": 0.375}}
    assert found["warnings"] == ["Too little"]
    assert found["dice_by_case"] == []
