"""Which labelled studies train and which validate: a hash of the id, written down once, for ever."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from lib.errors import SemisegError
from lib.files import write_whole
from lib.studies.cases import TRAINING, UNLABELLED, VALIDATION, Case


def fraction(study: str) -> float:
    """A number in [0, 1) that depends on the id alone."""
    return int.from_bytes(hashlib.sha256(study.encode()).digest()[:8], "big") / 2**64


class Split:
    """The sides of the studies of one project.

    A study whose side is known never changes it, whatever the settings say later: a model must not be judged
    on what an earlier one has learnt from. While no labelled study is on the training side, the labelled one
    with the largest hash is put there.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.sides = _read(file)

    def assign(self, cases: Sequence[Case], validation: float) -> list[Case]:
        """The cases with their sides; new labelled ones are assigned by hash and written down."""
        labelled = [case.id for case in cases if case.label]
        new = [study for study in labelled if study not in self.sides]
        sides = self.sides | {study: VALIDATION if fraction(study) < validation else TRAINING for study in new}
        if new and TRAINING not in {sides[study] for study in labelled}:
            sides[max(new, key=fraction)] = TRAINING
        if sides != self.sides:
            self.sides = sides
            self._write()
        return [case.on(sides[case.id] if case.label else UNLABELLED) for case in cases]

    def _write(self) -> None:
        write_whole(self.file, json.dumps(self.sides, indent=1, sort_keys=True))


def _read(file: Path) -> dict[str, str]:
    try:
        sides = json.loads(file.read_text())
        return {str(study): str(side) for study, side in sides.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError) as error:
        remedy = (
            "restore it from a backup; without it, studies may change sides and models be judged on what they learnt"
        )
        raise SemisegError(f"{file}, the sides of the studies, is damaged ({error}); {remedy}") from error
