"""The infer task: a study in, a label on its own grid out, by the model that is live at that moment."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from lib.errors import ConfigError
from lib.inference.segmenter import Segmentation
from lib.server.live import LiveModel
from lib.studies.cases import VOLUMES, is_picture
from lib.studies.labels import LabelMap

ENDINGS = (*VOLUMES[::-1], ".png")  # the first is what clients take that show the list
AUTO = "auto"  # the modality that the name of the file tells
PNG_TYPES = ("uint8", "uint16")
VALUE_TYPES = ("uint8", "uint16", "int16", "uint32", "int32", "float32")


class SegmentationTask(InferTask):
    """Segments the whole study; no clicks, no scribbles.

    Parameters of a request, beside its ``image``:

    - ``result_extension``: ``.nrrd`` (default), ``.nii.gz`` or ``.nii``; of a picture ``.png`` (its default), which
      holds the label's values as grey values.
    - ``result_dtype``: value type of the label, ``uint8`` by default. ``result_compress``: ``.nrrd`` compressed or not.
    - ``uncertainty``: true writes the uncertainty map (float32 in [0, 1] on the same grid) as the result *instead of*
      the label, ``.nrrd`` by default; the answer's ``content`` says which of the two it is.
    - ``modality``: which one the image shows, for a model of several; ``auto`` (default) goes by the file's name.

    The answer holds the ``label_names`` (name -> value), the model's ``version``, the ``latencies`` in seconds by
    stage, and ``notes`` on what was mended in the image.
    """

    def __init__(self, live: LiveModel) -> None:
        super().__init__(
            type=InferType.SEGMENTATION,
            labels=[],
            dimension=3,
            description="The classes of this project, by the newest published model",
            config={"result_extension": list(ENDINGS), "uncertainty": False},
        )
        self.live = live

    def is_valid(self) -> bool:
        """Clients list the model only once there is one: 3D Slicer runs a listed model on every study it opens."""
        return self.live.exists

    def info(self) -> dict[str, Any]:
        """As ``/info/`` shows it, with the classes and the version of the live model."""
        segmenter = self.live.loaded()
        if segmenter is None:
            return super().info()
        names = segmenter.plan.modality_names
        choice = {"modality": [AUTO, *names]} if len(names) > 1 else {}
        about = super().info() | {"labels": label_names(segmenter.labels), "version": segmenter.version}
        return about | {"config": about["config"] | choice}

    def get_path(self, validate: bool = True) -> str | None:
        """File of the live model, for downloads."""
        return str(self.live.file) if self.live.exists else None

    def __call__(self, request: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Segment ``request["image"]``, a file.

        Returns:
            The result's file, to be deleted by the caller, and the answer described above.

        Raises:
            StudyError: the image cannot be used.
            NotReadyError: no model was published yet.
            ConfigError: a parameter that does not exist.
        """
        start = time.perf_counter()
        uncertainty, compress = _flag(request, "uncertainty", False), _flag(request, "result_compress", True)
        kind = _value_type(request)
        ending = _ending(request, np.dtype(np.float32) if uncertainty else kind)
        with self.live.use() as segmenter:
            loaded = time.perf_counter()
            found = segmenter(Path(request["image"]), uncertainty=uncertainty, modality=_modality(request))
        writing = time.perf_counter()
        handle, file = tempfile.mkstemp(suffix=ending)
        os.close(handle)
        values = found.uncertainty if uncertainty else found.label.astype(kind)
        found.save(Path(file), values, compress)
        end = time.perf_counter()
        latencies = {"wait": loaded - start, **found.seconds, "write": end - writing, "total": end - start}
        return file, _answer(segmenter.labels, found, uncertainty, latencies)


def label_names(labels: LabelMap) -> dict[str, int]:
    """Class name -> value in the label files, by ascending value."""
    return {labels.values[value]: value for value in sorted(labels.values)}


def _answer(labels: LabelMap, found: Segmentation, uncertainty: bool, latencies: Mapping[str, float]) -> dict[str, Any]:
    return {
        "label_names": label_names(labels),
        "content": "uncertainty" if uncertainty else "label",
        "version": found.version,
        "latencies": {stage: round(seconds, 4) for stage, seconds in latencies.items()},
        "notes": list(found.notes),
    }


def _ending(request: Mapping[str, Any], kind: np.dtype) -> str:
    fits_png = is_picture(request["image"]) and kind in PNG_TYPES
    usual = ".png" if fits_png else ENDINGS[0]
    ending = first(request.get("result_extension")) or usual
    if ending not in ENDINGS:
        raise ConfigError(f"result_extension '{ending}' cannot be written; choose one of: {', '.join(ENDINGS)}")
    if ending == ".png" and not fits_png:
        raise ConfigError(f"result_extension '.png' holds labels of pictures in {' or '.join(PNG_TYPES)}; choose .nrrd")
    return ending


def _value_type(request: Mapping[str, Any]) -> np.dtype:
    name = first(request.get("result_dtype")) or "uint8"
    if name not in VALUE_TYPES:
        raise ConfigError(f"result_dtype '{name}' is not a type for labels; choose one of: {', '.join(VALUE_TYPES)}")
    return np.dtype(name)


def _modality(request: Mapping[str, Any]) -> str | None:
    name = first(request.get("modality"))
    return None if name in (None, "", AUTO) else str(name)


def _flag(request: Mapping[str, Any], key: str, default: bool) -> bool:
    value = str(first(request.get(key, default))).lower()
    if value not in ("true", "false"):
        raise ConfigError(f"{key} = {value!r} is neither true nor false")
    return value == "true"


def first(value: Any) -> Any:
    """Clients hold a choice as a list with the chosen item first; some send the list."""
    return value[0] if isinstance(value, list) and value else value
