"""Studies for the tutorial of the documentation: generated, so that it needs no data and no network.

``FOLDER/studies`` holds the studies, the first two labelled; ``FOLDER/answers`` what an annotator would draw on each of
them; ``FOLDER/held_out`` labelled studies for judging, nothing learns from them. A second run begins anew.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lib.studies.phantoms import write_studies

STUDIES, LABELLED, HELD_OUT = 16, 2, 4
EASY = {"distractors": 1, "contrast": 0.5, "deformation": 0.08}  # a model of two labels is of some use already


def main() -> int:
    """Write the three folders."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where they are written")
    folder = parser.parse_args().folder
    ids = write_studies(folder / "studies", STUDIES, STUDIES, **EASY)
    labels = folder / "studies" / "labels" / "final"
    shutil.copytree(labels, folder / "answers", dirs_exist_ok=True)
    for study in ids[LABELLED:]:
        (labels / f"{study}.nii.gz").unlink()
    write_studies(folder / "held_out", HELD_OUT, HELD_OUT, first=STUDIES, **EASY)
    print(f"{STUDIES} studies are in {folder / 'studies'}, {LABELLED} of them labelled.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
