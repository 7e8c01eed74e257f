"""Studies of a MONAI Label datastore as the cases that training, scoring and selection know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from monailabel.interfaces.datastore import Datastore, DefaultLabelTag

from lib.errors import NotFoundError
from lib.studies.cases import Case, final_labels, values_of
from lib.studies.modalities import group, one_series_each

FINAL = DefaultLabelTag.FINAL.value


@runtime_checkable
class KnowsCases(Protocol):
    """A datastore that lists its studies as cases faster than by asking for one after the other."""

    def cases(self) -> list[Case]:
        """All studies, as :func:`cases_of` gives them without modalities."""


@runtime_checkable
class OnDemand(KnowsCases, Protocol):
    """A datastore whose files arrive when they are read; listing them fetches none."""

    trouble: str  # why its server cannot be asked; empty if it can


def cases_of(datastore: Datastore, modalities: Sequence[str] = ()) -> list[Case]:
    """All studies of the datastore; those with a final label carry it, with the meaning its submitter gave.

    With modalities these are patients (see :func:`lib.studies.modalities.group`): a label on one of a patient's series,
    or in the folder under his own id, which MONAI Label does not list, is the label of them all.
    """
    if isinstance(datastore, KnowsCases):
        files = datastore.cases()
    else:
        files = [case_of(datastore, study) for study in datastore.list_images()]
    return group(files, final_labels(files[0].image.parent), modalities) if files and modalities else files


def labelled_cases(datastore: Datastore, modalities: Sequence[str] = ()) -> list[Case]:
    """The studies with a final label."""
    return [case for case in cases_of(datastore, modalities) if case.label]


def worklist(
    datastore: Datastore, modalities: Sequence[str], strength: Mapping[str, float]
) -> tuple[list[Case], list[Case]]:
    """The studies without a final label, which may be labelled next, and those with one; of a patient one series, the
    strongest.

    While a server of studies is away, the former are the ones at hand.

    Args:
        strength: of the live model, see :class:`lib.inference.segmenter.Segmenter`.
    """
    away = isinstance(datastore, OnDemand) and bool(datastore.trouble)
    cases = cases_of(datastore, modalities)
    waiting = [case for case in cases if not case.label and (case.here or not away)]
    labelled = [case for case in cases if case.label]
    if not modalities:
        return waiting, labelled
    return one_series_each(waiting, strength), one_series_each(labelled, strength)


def case_of(datastore: Datastore, study: str) -> Case:
    """One study of the datastore, which must be in it."""
    image = Path(datastore.get_image_uri(study))
    label = datastore.get_label_by_image_id(study, FINAL)
    if not label:
        return Case(study, image)
    named = values(datastore.get_label_info(label, FINAL))
    return Case(study, image, Path(datastore.get_label_uri(label, FINAL)), named)


def image_file(image: str | Path, datastore: Datastore) -> Path:
    """The file of a study, or of an upload.

    Args:
        image: id of a study as text; a path comes from this server only, never from a client.

    Raises:
        NotFoundError: there is none.
    """
    known = image if isinstance(image, Path) else datastore.get_image_uri(image)
    if not known or not Path(known).is_file():
        raise NotFoundError(f"There is no study '{str(image)[:200]}' on this server")
    return Path(known)


def values(info: Mapping[str, Any]) -> dict[int, str] | None:
    """Meaning of a label file's values, from the info its submitter sent with it; None if that says nothing."""
    return values_of(info.get("label_info"))
