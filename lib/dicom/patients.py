"""Series that belong together, and the names of their files in the mirror, by which everything else groups them.

With the setting ``modalities``, the series of one study in one frame of reference are of one patient: there, equal
coordinates are equal places (DICOM PS3.3 C.7.4.1). A name of the setting that is a Modality (``ct``, ``mr``, ``pt`` or
``pet``) stands for its series, another one (``t1``) for those with that word in their SeriesDescription.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Collection, Mapping, Sequence

from lib.config import Config
from lib.dicom.listed import Series
from lib.studies.modalities import patterns

log = logging.getLogger(__name__)

MODALITIES = {"ct": "CT", "mr": "MR", "mri": "MR", "pt": "PT", "pet": "PT"}
STUDIES = ("CT", "MR", "PT")  # what is listed, unless the settings say less


def modalities_of(config: Config) -> tuple[str, ...]:
    """Modality of the series that are studies: of ``modalities``, else what the intensity scheme fits."""
    known = [MODALITIES.get(name.lower()) for name in patterns(config.modalities)]
    if known and all(known):
        return tuple(sorted({modality for modality in known if modality}))
    return (config.modality.upper(),) if config.modality in ("ct", "mr") and not known else STUDIES


def stems(series: Mapping[str, Series], labelled: Collection[str], modalities: Sequence[str]) -> dict[str, str]:
    """SeriesInstanceUID -> name of its file without extension.

    Where two series of a patient show the same modality, the labelled one counts, else the one of more instances; the
    other one is under its own UID, and so of no patient.
    """
    names = {uid: uid for uid in series}
    taken: set[str] = set()
    for each in sorted(series.values(), key=lambda each: (each.uid not in labelled, -each.instances, each.uid)):
        stem = _stem(each, modalities)
        if stem in taken:
            log.info("Series %s is left out: another one of its study shows the same modality", each.uid)
        elif stem:
            names[each.uid] = stem
            taken.add(stem)
    return names


def _stem(series: Series, modalities: Sequence[str]) -> str | None:
    for name, pattern in patterns(modalities).items():
        known = MODALITIES.get(name.lower())
        words = re.findall(r"[a-z0-9]+", series.about.get("SeriesDescription", "").lower())
        if series.modality == known or not known and name.lower() in words:
            frame = hashlib.sha256(series.frame.encode()).hexdigest()[:8]
            return pattern.replace("*", f"{series.study}-{frame}")
    return None
