"""A case: one study with its image, its label if it has one, and which side of the split it is on."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from lib.errors import NotFoundError, SemisegError, StudyError

log = logging.getLogger(__name__)

VOLUMES, PICTURES = (".nii.gz", ".nii", ".nrrd"), (".png", ".jpg", ".jpeg")
EXTENSIONS = VOLUMES + PICTURES
SPELLINGS = EXTENSIONS + tuple(end.upper() for end in PICTURES)  # cameras and microscopes write .JPG
TRAINING, VALIDATION, UNLABELLED = "training", "validation", "unlabelled"
DOWNLOADS = 4  # studies that are fetched at the same time


@dataclass(frozen=True)
class Case:
    """A study as training, validation and scoring see it.

    Attributes:
        id: the file's name without its extension, as MONAI Label has it; of a patient with several series, his id.
        image: the image's file; of several series the one on whose grid the label is.
        label: the file of its final label, if it has one.
        values: meaning of the values in that file, where its submitter said so (``label_info``).
        side: ``training``, ``validation`` or ``unlabelled``.
        modalities: name -> file of the series there are, in the order of the setting; empty without that setting.
        fault: why the study cannot be used, where its files' names tell already.
        members: name -> the single series behind ``modalities``, each a case of its own.
        fetch: brings the files here, from a server; they may be gone again later. None: they lie in a folder.
        version, label_version: say what fetched files hold, also while they are not here. here: are they?
        labelled_at: when the label was made, as a number that grows; 0: its file's own time tells.
    """

    id: str
    image: Path
    label: Path | None = None
    values: Mapping[int, str] | None = None
    side: str = UNLABELLED
    modalities: Mapping[str, Path] = field(default_factory=dict)
    fault: str = ""
    members: Mapping[str, Case] = field(default_factory=dict, compare=False, repr=False)
    fetch: Callable[[], object] | None = field(default=None, compare=False, repr=False)
    version: str = ""
    label_version: str = ""
    here: bool = field(default=True, compare=False)
    labelled_at: float = field(default=0.0, compare=False)

    @property
    def files(self) -> list[Path]:
        """All its image files, that of the image's grid first."""
        return [self.image, *(file for file in self.modalities.values() if file != self.image)]

    def usable(self) -> Case:
        """The same case, with its files at hand. Whoever reads them asks for this first.

        Raises:
            StudyError: it has a fault, or its files cannot be fetched.
        """
        if self.fault:
            raise StudyError(self.id, self.fault, "Keep one of them")
        if self.fetch:
            self.fetch()
        return self

    def state(self) -> list[str]:
        """Changes when a file does.

        Raises:
            OSError: a file is gone.
        """
        files = [*self.files, *([self.label] if self.label else [])]
        found = [str(file.resolve()) for file in files]
        if self.version:
            return [*found, self.version, *([self.label_version] if self.label else [])]
        return found + [str(part) for file in files for part in (file.stat().st_size, file.stat().st_mtime_ns)]

    def on(self, side: str) -> Case:
        """The same case on another side of the split."""
        return dataclasses.replace(self, side=side)


@contextlib.contextmanager
def fetching(cases: Iterable[Case]) -> Iterator[None]:
    """Fetch these cases in the background while the block reads one after the other.

    A failure is told by :meth:`Case.usable` to whoever reads the case.
    """

    def fetch(case: Case) -> None:
        with contextlib.suppress(SemisegError):
            case.usable()

    pool = ThreadPoolExecutor(DOWNLOADS, thread_name_prefix="fetch")
    try:
        for case in cases:
            if case.fetch:
                pool.submit(fetch, case)
        yield
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def study_id(path: Path | str) -> str:
    """The file's name without its extension (``.nii.gz`` counts as one)."""
    name = Path(path).name
    return next((name[: -len(end)] for end in SPELLINGS if name.endswith(end)), Path(name).stem)


def is_picture(path: Path | str) -> bool:
    """Is this file an image without a third dimension, by its name?"""
    return Path(path).name.lower().endswith(PICTURES)


def find_cases(studies: Path | str) -> list[Case]:
    """All studies of a folder: images directly in it, final labels in ``labels/final/`` under the same id.

    What is no readable image (a folder named ``x.nii.gz``, a broken file) is listed too: whoever reads it
    gets the ``StudyError`` that says why, so that it is reported instead of overlooked.

    Raises:
        NotFoundError: the folder does not exist.
    """
    folder = Path(studies)
    if not folder.is_dir():
        raise NotFoundError(f"The studies folder {folder} does not exist")
    labels = final_labels(folder)
    infos = _label_infos(folder)
    return [
        Case(key, image, labels.get(key), infos.get(key) if key in labels else None)
        for key, image in _images(folder).items()
    ]


def final_labels(studies: Path | str) -> dict[str, Path]:
    """Id -> file of the final labels in a studies folder, whether there is an image of that id or not."""
    return _images(Path(studies) / "labels" / "final")


def values_of(label_info: object) -> dict[int, str] | None:
    """``[{"name": "liver", "idx": 1}, ...]``, as 3D Slicer submits it, as value -> name; None if it says nothing."""
    named: dict[int, str] = {}
    for item in label_info if isinstance(label_info, list) else []:
        try:
            named[int(item["idx"])] = str(item["name"])
        except (TypeError, KeyError, ValueError):
            continue
    return named or None


def _images(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    found = (
        path for path in sorted(folder.iterdir()) if path.name.endswith(SPELLINGS) and not path.name.startswith(".")
    )
    images: dict[str, Path] = {}
    for path in found:
        if study_id(path) in images:
            log.warning(
                "Study '%s' has two files; %s is used, not %s", study_id(path), images[study_id(path)].name, path.name
            )
        images.setdefault(study_id(path), path)
    return images


def _label_infos(folder: Path) -> dict[str, dict[int, str] | None]:
    """Label infos that clients sent, from MONAI Label's index of the folder; unreadable or absent means none."""
    try:
        objects = json.loads((folder / "datastore_v2.json").read_text())["objects"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    return {study: values_of(_deep(item, "labels", "final", "info", "label_info")) for study, item in objects}


def _deep(item: object, *keys: str) -> object:
    for key in keys:
        item = item.get(key) if isinstance(item, dict) else None
    return item
