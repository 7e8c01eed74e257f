"""What the trainings of a project have reached so far, from their manifests: its learning curve."""

from __future__ import annotations

import json
import logging

from lib.training.model_folder import ModelFolder

log = logging.getLogger(__name__)


def learning_curve(folder: ModelFolder) -> list[tuple[int, float]]:
    """``(labels, Dice)`` of each training that ended and was validated, the first one first.

    Labels are those of both sides, because a reader labels without knowing the side. The Dice is that of the training,
    published or not; the validation studies are more from round to round, so two of them differ by that too.
    """
    found = []
    for file in folder.manifests:
        try:
            values = json.loads(file.read_text())
            if values.get("dice") is not None:
                cases = values["cases"]
                found.append((len(cases["training"]) + len(cases["validation"]), float(values["dice"])))
        except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
            log.warning("Left out of the learning curve: %s cannot be read (%s)", file, error)
    return found
