"""The report of real, tiny trainings: what it says is what the manifest says, and it never fails a training."""

from __future__ import annotations

import base64
import io
import itertools
import json
import logging
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from lib.errors import NotFoundError, SemisegError
from lib.inference.model_file import Model
from lib.report import write
from lib.report.write import write_report
from lib.studies.labels import label_map
from lib.studies.modalities import project_cases
from lib.studies.phantom_patients import write_patients
from lib.studies.phantom_pictures import write_pictures
from lib.studies.phantoms import write_studies
from lib.training import train as training

VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Balanced tags, all texts, all attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        assert self.open == [], "each tag is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())


def report(run: Path) -> tuple[dict[str, Any], Page]:
    return json.loads((run / "report.json").read_text()), Page((run / "report.html").read_text())


def test_a_training_leaves_a_report_of_itself(project: Any) -> None:
    result = project.train(iterations=20)
    manifest = project.manifest(result)
    content, page = report(result.manifest.parent)
    for key in ("status", "reason", "version", "dice", "cases", "environment", "seconds", "plan"):
        assert content[key] == manifest[key], key
    means = [row["mean"] for row in content["dice_by_case"]]
    assert means == sorted(means)
    assert {row["study"]: row["dice"] for row in content["dice_by_case"]} == manifest["dice_by_case"]
    assert [step for step, _ in content["curves"]["training/loss"]] == [10, 20]
    dice = {int(step): value for step, value in manifest["validation"].items()}
    assert {step: pytest.approx(value) for step, value in content["curves"]["validation/dice"]} == dice
    assert content["monitors"]["agreement"]["last"] == content["curves"]["monitor/agreement"][-1][1]
    assert content["settings"][0]["changed"]
    assert manifest["reason"] + "." in "".join(page.texts)
    for study in manifest["dice_by_case"]:
        assert study in page.texts


def test_the_page_needs_nothing_else_and_can_be_read_aloud(project: Any) -> None:
    page = report(project.train(iterations=20).manifest.parent)[1]
    assert page.tags[0] == ("html", {"lang": "en"})
    assert {"script", "link", "iframe"}.isdisjoint(tag for tag, _ in page.tags)
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert pictures
    assert all(re.match("data:image/png;base64,", each["src"] or "") and each["alt"] for each in pictures)
    assert all(attributes.get("aria-label") for tag, attributes in page.tags if tag == "svg")
    assert not [attributes for _, attributes in page.tags if "href" in attributes]
    headings = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(headings))
    style = "".join(page.texts)
    assert "prefers-color-scheme: dark" in style
    assert "@media print" in style


def images(content: dict[str, Any]) -> list[np.ndarray]:
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(each["png"])))) for each in content["pictures"]]


@pytest.mark.parametrize("axis", [0, 1])
def test_slices_of_any_axis_are_drawn(project: Any, axis: int) -> None:
    shape, spacing = [24, 24, 24], [2.0, 2.0, 2.0]
    shape[axis], spacing[axis] = 4, 12.0
    folder = project.studies.parent / "thick"
    write_studies(folder, count=4, labelled=4, shape=tuple(shape), spacing=tuple(spacing))
    project.studies = folder
    content = report(project.train(patch=(16, 16), method="supervised", iterations=2).manifest.parent)[0]
    assert [each["why"] for each in content["pictures"]] == ["worst", "median"][: len(content["pictures"])]
    assert all("of 4, on which" in each["text"] for each in content["pictures"])
    assert all(each.std() > 5 for each in images(content))


def test_coloured_pictures_are_drawn(project: Any) -> None:
    folder = project.studies.parent / "pictures"
    write_pictures(folder, 4, 4, size=(32, 24), ending=".png")
    project.studies = folder
    content = report(project.train(patch=(16, 16), method="supervised", iterations=2).manifest.parent)[0]
    assert content["pictures"]
    assert all("slice 1 of 1" in each["text"] for each in content["pictures"])


def test_of_several_modalities_the_labelled_series_is_drawn(project: Any, tmp_path: Path) -> None:
    names = ("ct", "mr")
    write_patients(tmp_path / "patients", 6, 6, names)
    cases = project_cases(tmp_path / "patients", names)
    config = project.config(method="semi_cml", modalities=names, iterations=2)
    result = training.train(cases, label_map(config, tmp_path / "patients"), config, project.folder)
    content = report(result.manifest.parent)[0]
    assert {name.split("/")[0] for row in content["dice_by_case"] for name in row["dice"]} == set(names)
    assert len(content["pictures"]) == len(images(content)) > 0
    assert {"validation/ct", "validation/mr"} <= content["curves"].keys()


def test_a_failing_report_fails_no_training(
    project: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no room to draw")

    monkeypatch.setattr(write, "draw_cases", broken)
    result = project.train(iterations=2)
    assert result.version == "0001"
    assert project.manifest(result)["status"] == "finished"
    assert "was not written; the training is not affected" in caplog.text
    assert not (result.manifest.parent / "report.html").exists()


def test_a_training_that_failed_has_a_report_with_its_error(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ValueError("<the> reason")

    monkeypatch.setattr(training, "publish", broken)
    with pytest.raises(ValueError, match="reason"):
        project.train(iterations=2)
    content, page = report(next(project.folder.runs.iterdir()))
    assert (content["status"], content["error"]) == ("failed", "<the> reason")
    assert "<the> reason." in page.texts


def test_names_of_studies_are_text_and_no_tags(project: Any) -> None:
    name = "<b>&amp;"
    for file in (project.image(0), project.label(0)):
        file.rename(file.with_name(f"{name}.nii.gz"))
    content, page = report(project.train(iterations=2).manifest.parent)
    assert name in [study for side in content["cases"].values() for study in side]
    assert "b" not in {tag for tag, _ in page.tags}
    assert any(name in text for text in page.texts)


def test_written_again_without_the_weights_it_keeps_its_pictures(project: Any) -> None:
    run = project.train(iterations=10).manifest.parent
    before = (run / "report.html").read_text()
    assert write_report(run) == run / "report.html"
    assert (run / "report.html").read_text() == before


def test_written_again_with_the_weights_it_draws_the_worst_case_anew(project: Any) -> None:
    run = project.train(iterations=10).manifest.parent
    before = report(run)[0]["pictures"]
    (worst,) = [each["study"] for each in before if each["why"] == "worst"]
    label = project.studies / "labels" / "final" / f"{worst}.nii.gz"
    array = nib.load(label)
    nib.save(nib.Nifti1Image(np.zeros(array.shape, np.uint8), array.affine), label)
    write_report(run, Model.load(project.folder.live), project.cases)
    after = report(run)[0]["pictures"]
    assert [each["study"] for each in after] == [each["study"] for each in before]
    assert after[0]["png"] != before[0]["png"]


def test_a_label_that_cannot_be_read_any_more_is_said_and_left_out(
    project: Any, caplog: pytest.LogCaptureFixture
) -> None:
    run = project.train(iterations=2).manifest.parent
    worst = report(run)[0]["pictures"][0]["study"]
    (project.studies / "labels" / "final" / f"{worst}.nii.gz").write_bytes(b"broken")
    write_report(run, Model.load(project.folder.live), project.cases)
    assert worst not in [each["study"] for each in report(run)[0]["pictures"]]
    assert f"Not drawn in the report. Study '{worst}'" in caplog.text


def test_damage_is_said(project: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(NotFoundError, match=r"no manifest\.json"):
        write_report(tmp_path / "nowhere")
    run = project.train(iterations=2).manifest.parent
    (run / "report.json").write_text("{")
    with caplog.at_level(logging.WARNING):
        write_report(run)
    assert "earlier report" in caplog.text
    assert report(run)[0]["pictures"] == []
    (run / "manifest.json").write_text("[")
    with pytest.raises(SemisegError, match="damaged"):
        write_report(run)
