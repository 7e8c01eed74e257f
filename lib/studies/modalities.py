"""Series that belong together: what modality a file shows, by its name, and whose it is.

The setting ``modalities`` lists names. ``ct`` stands for files ``<id>_ct``; ``ct=*-CT`` says another pattern, with
``*`` for the patient's id. Case does not matter; of several patterns that match a name the one with the most letters
counts (``*_t1_mr`` before ``*_mr``).
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from lib.errors import ConfigError, StudyError
from lib.studies.cases import EXTENSIONS, Case, final_labels, find_cases, study_id
from lib.studies.labels import GRID_TOLERANCE

log = logging.getLogger(__name__)

NAME = re.compile(r"[\w.-]+")


def patterns(modalities: Sequence[str]) -> dict[str, str]:
    """Name -> pattern of file names without extension, in the order of the setting.

    Raises:
        ConfigError: a name that cannot be one or comes twice, a pattern without its one ``*``, or one of two names.
    """
    found: dict[str, str] = {}
    for text in modalities:
        name, _, pattern = text.partition("=")
        pattern = _without_extension(pattern or f"*_{name}")
        if not NAME.fullmatch(name) or pattern.count("*") != 1 or "/" in pattern:
            raise ConfigError(
                f"Modality '{text}' is neither a name nor name=pattern with one * for the patient's id; "
                "write e.g. modalities=ct,mr or modalities=ct=*-CT,mr=T1-*"
            )
        if name in found or pattern.lower() in map(str.lower, found.values()):
            raise ConfigError(f"Modality '{text}' has the name or the pattern of another one; each needs its own")
        found[name] = pattern
    return found


def modality_of(file: Path | str, modalities: Sequence[str]) -> tuple[str, str] | None:
    """Which of the modalities a file shows, and the patient's id; None if its name matches no pattern."""
    matches = []
    for name, pattern in patterns(modalities).items():
        before, after = map(re.escape, pattern.split("*"))
        match = re.fullmatch(f"{before}(.+){after}", study_id(file), re.IGNORECASE)
        if match:
            matches.append((len(pattern), name, match[1]))
    return max(matches)[1:] if matches else None


def place_of(file: Path | str, modalities: Sequence[str]) -> int:
    """The place of the modality that a file shows in the setting.

    Raises:
        StudyError: its name matches no pattern.
    """
    found = modality_of(file, modalities)
    if found is None:
        known = ", ".join(patterns(modalities).values())
        remedy = "Rename it, or say which modality it is"
        raise StudyError(study_id(file), f"its name does not say its modality (known are: {known})", remedy)
    return list(patterns(modalities)).index(found[0])


def project_cases(studies: Path | str, modalities: Sequence[str] = ()) -> list[Case]:
    """The cases of a folder: with modalities its patients, without every file.

    Raises:
        NotFoundError: the folder does not exist.
        ConfigError: a modality that cannot be understood or that no file shows.
    """
    files = find_cases(studies)
    check_patterns(files, modalities)
    return group(files, final_labels(studies), modalities)


def check_patterns(files: Sequence[Case], modalities: Sequence[str]) -> None:
    """Refuse modalities that no file shows, unless there are no files at all.

    Raises:
        ConfigError: which one, and what the files are called.
    """
    shown = {found[0] for found in (modality_of(case.image, modalities) for case in files) if found}
    for name, pattern in patterns(modalities).items():
        if files and name not in shown:
            there = " and ".join(case.image.name for case in files[:2])
            raise ConfigError(
                f"No file matches {pattern}, the pattern of the modality '{name}'; the files are called {there}. "
                f"Correct it with --conf modalities, e.g. {name}=*-{name.upper()}"
            )


def group(files: Sequence[Case], labels: Mapping[str, Path], modalities: Sequence[str]) -> list[Case]:
    """Single files as patients; without modalities the files as they are.

    A label on one of a patient's series, or under his own id, is the label of them all. Its grid is that of the
    case's ``image``. Files of no modality are left out.

    Args:
        labels: id -> final label, for those under the ids of patients.
    """
    if not modalities:
        return list(files)
    patients: dict[str, dict[str, list[Case]]] = {}
    left_out = []
    for case in files:
        found = modality_of(case.image, modalities)
        if found:
            patients.setdefault(found[1], {}).setdefault(found[0], []).append(case)
        else:
            left_out.append(case.image.name)
    if left_out:
        log.info("%d files show none of the modalities and are left out, %s among them", len(left_out), left_out[0])
    return [
        _patient(patient, {name: series[name] for name in patterns(modalities) if name in series}, labels.get(patient))
        for patient, series in patients.items()
    ]


def single_series(cases: Sequence[Case]) -> list[Case]:
    """Every series of these patients as a case of its own, without label; other cases as they are."""
    return [each for case in cases for each in ([_alone(case, name) for name in case.modalities] or [case])]


def one_series_each(cases: Sequence[Case], strength: Mapping[str, float]) -> list[Case]:
    """One series of each patient as a case of its own: that of the strongest modality, at a tie the first.

    Args:
        strength: modality -> how good a model was on it; one that was not measured counts as 0.
    """
    return [
        _alone(case, max(case.modalities, key=lambda name: strength.get(name, 0.0))) if case.modalities else case
        for case in cases
    ]


def _alone(case: Case, name: str) -> Case:
    member = case.members.get(name) or Case(study_id(case.modalities[name]), case.modalities[name])
    return dataclasses.replace(member, label=None, values=None)


def _patient(patient: str, series: Mapping[str, Sequence[Case]], label: Path | None) -> Case:
    fault = next(
        (
            f"it has two files for the modality '{name}', {cases[0].image.name} and {cases[1].image.name}"
            for name, cases in series.items()
            if len(cases) > 1
        ),
        "",
    )
    first = {name: cases[0] for name, cases in series.items()}
    own = next(iter(first.values()))
    merged = Case(
        patient,
        own.image,
        modalities={name: case.image for name, case in first.items()},
        fault=fault,
        members=first,
        fetch=functools.partial(_fetch, list(first.values())) if any(case.fetch for case in first.values()) else None,
        version=" ".join(case.version for case in first.values()).strip(),
        here=all(case.here for case in first.values()),
    )
    labelled = [case for cases in series.values() for case in cases if case.label]
    if label and label not in [case.label for case in labelled]:
        image = next((file for file in merged.modalities.values() if _same_grid(file, label)), own.image)
        labelled.append(Case(patient, image, label))
    if not labelled:
        return merged
    newest = max(labelled, key=_age)
    if len(labelled) > 1:
        names = ", ".join(case.label.name for case in labelled if case.label)
        log.warning(
            "Patient '%s' has %d labels (%s); the newest, of %s, is used", patient, len(labelled), names, newest.id
        )
    return dataclasses.replace(
        merged, image=newest.image, label=newest.label, values=newest.values, label_version=newest.label_version
    )


def _fetch(members: Sequence[Case]) -> None:
    for case in members:
        case.usable()


def _age(case: Case) -> float:
    assert case.label is not None
    if case.labelled_at:
        return case.labelled_at
    return case.label.stat().st_mtime if case.label.exists() else 0.0


def _same_grid(image: Path, label: Path) -> bool:
    """By the headers alone; files without a readable one are on no grid."""
    try:
        one, other = _header(image), _header(label)
    except RuntimeError:
        return False
    return one[0] == other[0] and bool((np.abs(one[1] - other[1]) < GRID_TOLERANCE * np.array(one[2])).all())


def _header(file: Path) -> tuple[tuple[int, ...], np.ndarray, tuple[float, ...]]:
    """Size, the first and the last corner in mm, spacing."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    reader.ReadImageInformation()
    size, spacing = reader.GetSize(), np.array(reader.GetSpacing())
    turned = np.reshape(reader.GetDirection(), (len(size), len(size))) @ (spacing * (np.array(size) - 1))
    return size, np.array([reader.GetOrigin(), reader.GetOrigin() + turned]), tuple(spacing)


def _without_extension(pattern: str) -> str:
    return next((pattern[: -len(end)] for end in EXTENSIONS if pattern.endswith(end)), pattern)
