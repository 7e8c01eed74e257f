"""Which labelled studies train and which validate: a hash of the id, written down once, for ever."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

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
        self.sides: dict[str, str] = json.loads(file.read_text()) if file.is_file() else {}

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
        self.file.parent.mkdir(parents=True, exist_ok=True)
        draft = self.file.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(self.sides, indent=1, sort_keys=True))
        os.replace(draft, self.file)
