"""The report beside the manifest: ``report.json`` with everything, and ``report.html`` for people.

The page needs nothing but itself: no network, no script.

A report is written when a training ends and can be written again at any time: the curves and the manifest lie in the
folder of the run. The pictures take the weights of the run, so those of an earlier report are kept.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lib.errors import NotFoundError, SemisegError
from lib.files import write_whole
from lib.inference.model_file import Model
from lib.inference.segmenter import Segmenter
from lib.report.chart import line_chart
from lib.report.content import case_means, report_content
from lib.report.curves import Curve, read_curves
from lib.report.pictures import Picture, draw_cases
from lib.studies.cases import Case

log = logging.getLogger(__name__)

HTML, JSON = "report.html", "report.json"
HIDDEN = ("training/skipped/", "training/learning_rate")  # in the JSON, but nothing to look at


def write_report(run: Path, model: Model | None = None, cases: Sequence[Case] = ()) -> Path:
    """Write both files of a run; returns the page.

    Args:
        run: its folder. model: what it published, to draw pictures with; None: those of an earlier report are kept.
        cases: of its validation.

    Raises:
        NotFoundError: there is no manifest. SemisegError: it is damaged.
    """
    manifest = _manifest(run)
    means = case_means(manifest)
    pictures = _earlier(run) if model is None else draw_cases(_segmenter(model), cases, means)
    content = report_content(run, manifest, read_curves(run), pictures)
    write_whole(run / JSON, json.dumps(content, indent=1, allow_nan=False))
    write_whole(run / HTML, render(content))
    return run / HTML


def try_report(run: Path, model: Model | None = None, cases: Sequence[Case] = ()) -> None:
    """The same for a training that ends: whatever goes wrong here must not fail what was learnt, so it is logged."""
    try:
        log.info("Report: %s", write_report(run, model, cases))
    except Exception:
        log.exception("The report of %s was not written; the training is not affected", run.name)


def render(content: Mapping[str, Any]) -> str:
    """The page: styles, drawings and pictures are inside, no script is needed."""
    # what studies and classes are called is text of others: escaped, wherever it stands
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    columns = list(dict.fromkeys(name for row in content["dice_by_case"] for name in row["dice"]))
    return environment.get_template("page.html").render(**content, columns=columns, charts=_charts(content))


def _charts(content: Mapping[str, Any]) -> dict[str, list[tuple[str, str]]]:
    """Heading -> (name, drawing) of each curve below it; a validation's curve of a single study is in the JSON only."""
    single = {f"validation/{row['study']}" for row in content["dice_by_case"]}
    groups = {"Loss terms": "training/", "Validation": "validation/", "Pseudo-labels": "monitor/"}
    curves: Mapping[str, Curve] = content["curves"]
    found: dict[str, list[tuple[str, str]]] = {}
    for heading, start in groups.items():
        names = [name for name in curves if name.startswith(start) and not name.startswith(HIDDEN)]
        shown = [(name.removeprefix(start), curves[name]) for name in names if name not in single]
        if shown:
            found[heading] = [(name, line_chart(name, curve)) for name, curve in shown]
    return found


def _manifest(run: Path) -> dict[str, Any]:
    file = run / "manifest.json"
    try:
        return dict(json.loads(file.read_text()))
    except FileNotFoundError:
        raise NotFoundError(f"There is no training in {run}: it has no manifest.json") from None
    except (ValueError, TypeError) as error:
        raise SemisegError(f"{file} is damaged ({error}); nothing can be reported of that training") from error


def _earlier(run: Path) -> list[Picture]:
    """The pictures of the report that is there; of one that cannot be read there are none."""
    try:
        return [Picture(**each) for each in json.loads((run / JSON).read_text())["pictures"]]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, KeyError) as error:
        log.warning("The pictures of the earlier report of %s are lost: it is damaged (%s)", run.name, error)
        return []


def _segmenter(model: Model) -> Segmenter:
    return Segmenter(model.build(), model.plan, model.labels, model.config, model.version)
