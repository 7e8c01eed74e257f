"""Every label that was taken, kept beside the studies: what it was, whose, since when, and how to go back to it.

``labels/.history/<tag>/<study>/<UTC time>-<who>.nii.gz`` with its info in a ``.json`` of the same name, which is
written last: a label without one was never taken. The label that counts is in there too, so its info is found again
when an index is lost, and it can be restored after another program has overwritten or deleted it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from filelock import FileLock

from lib.errors import NotFoundError
from lib.files import whole_file, write_whole
from lib.studies.cases import final_labels

FOLDER = ".history"  # in labels/; MONAI Label takes what does not begin with a dot for a tag
TIME = "%Y%m%dT%H%M%S.%fZ"  # sorts by time
STAMP = "stamp"  # key in a label's info: its name in the history
PROPOSED, PROPOSALS = "original", 1  # tag of what the model has proposed, which can be computed again; kept of it


@dataclass(frozen=True)
class Kept:
    """A label of the history.

    Attributes:
        stamp: ``<UTC time>-<who>``, unique for its study and tag. info: as its submitter gave it. sha256: of the file.
    """

    study: str
    tag: str
    stamp: str
    file: Path
    info: dict[str, Any]
    sha256: str

    @property
    def time(self) -> datetime:
        """When it was taken."""
        return datetime.strptime(self.stamp.partition("-")[0], TIME).replace(tzinfo=UTC)

    @property
    def who(self) -> str:
        """Who has submitted it."""
        return self.stamp.partition("-")[2]


class LabelHistory:
    """The history of one ``labels`` folder. Several processes may put; who replaces or prunes holds the index's lock.

    Args:
        labels: the folder with one folder a tag. keep: earlier labels kept of each study and tag.
    """

    def __init__(self, labels: Path, keep: int) -> None:
        self.folder, self.keep = labels / FOLDER, keep

    def put(self, study: str, tag: str, file: Path, ending: str, info: Mapping[str, Any], who: str = "") -> Kept:
        """Keep a label; it is on the disk with its info when this returns. That does not make it count.

        Args:
            ending: of its type, e.g. ``.nii.gz``.
            who: else by the info: ``submitted_by`` (who has logged in), ``client_id``.

        Raises:
            OSError: it cannot be written; nothing of it is kept.
        """
        name = re.sub(r"[^\w.@]+", "_", who or str(info.get("submitted_by") or info.get("client_id") or "unknown"))[:60]
        folder = self._folder(study, tag)
        now = datetime.now(UTC)
        while list(folder.glob(f"{now.strftime(TIME)}-*")):
            now += timedelta(microseconds=1)
        stamp = f"{now.strftime(TIME)}-{name}"
        kept = Kept(study, tag, stamp, folder / f"{stamp}{ending}", {**info, STAMP: stamp}, _sha256(file))
        try:
            with whole_file(kept.file) as draft:
                shutil.copyfile(file, draft)
            self._note(kept)
        except OSError:
            kept.file.unlink(missing_ok=True)
            raise
        return kept

    def changed(self, study: str, tag: str, stamp: str, info: Mapping[str, Any]) -> None:
        """These entries of the info of a kept label have changed."""
        for kept in self.all(study, tag):
            if kept.stamp == stamp:
                self._note(dataclasses.replace(kept, info={**kept.info, **info, STAMP: stamp}))

    def all(self, study: str, tag: str) -> list[Kept]:
        """The kept labels of a study, oldest first; one whose info is damaged is left out."""
        found = []
        for note in sorted(self._folder(study, tag).glob("[0-9]*.json")):
            try:
                about = json.loads(note.read_text())
                file = note.with_name(about["file"])
                found.append(Kept(study, tag, note.stem, file, dict(about["info"]), about["sha256"]))
            except (OSError, ValueError, KeyError, TypeError):
                continue
        return [kept for kept in found if kept.file.is_file()]

    def newest(self, study: str, tag: str) -> str:
        """Stamp of the label that was put last; empty if there is none. Reads no file."""
        names = sorted(file.stem for file in self._folder(study, tag).glob("[0-9]*.json"))
        return names[-1] if names else ""

    def find(self, study: str, tag: str, file: Path, stamp: str = "") -> Kept | None:
        """The kept label that is this file bit for bit; None: nobody has submitted that here.

        Args:
            stamp: of several the one of this stamp, else the latest.
        """
        content = _sha256(file)
        same = [kept for kept in self.all(study, tag) if kept.sha256 == content]
        return next((kept for kept in same if kept.stamp == stamp), same[-1] if same else None)

    def get(self, study: str, tag: str, stamp: str) -> Kept:
        """The kept label of this stamp.

        Raises:
            NotFoundError: there is none.
        """
        kept = {each.stamp: each for each in self.all(study, tag)}
        if stamp not in kept:
            there = ", ".join(kept) or "none"
            raise NotFoundError(f"Study '{study}' has no kept {tag} label '{stamp}'; there are: {there}")
        return kept[stamp]

    def keep_file(self, study: str, tag: str, file: Path, ending: str, info: Mapping[str, Any]) -> None:
        """Before a label is replaced or deleted: keep what lies there, if another program has put it there."""
        if not self.find(study, tag, file):
            self.put(study, tag, file, ending, info, "" if STAMP not in info else "unknown")

    def prune(self, study: str, tag: str) -> None:
        """Let the oldest go, beyond those to be kept beside the one that counts."""
        for kept in self.all(study, tag)[: -1 - (PROPOSALS if tag == PROPOSED else self.keep)]:
            kept.file.with_name(f"{kept.stamp}.json").unlink(missing_ok=True)
            kept.file.unlink(missing_ok=True)

    def studies(self, tag: str) -> set[str]:
        """The studies with kept labels of this tag, also those that were deleted."""
        folder = self.folder / tag
        return {item.name for item in folder.iterdir() if item.is_dir()} if folder.is_dir() else set()

    def _folder(self, study: str, tag: str) -> Path:
        return self.folder / tag / study

    def _note(self, kept: Kept) -> None:
        about = {"file": kept.file.name, "sha256": kept.sha256, "info": kept.info}
        write_whole(kept.file.with_name(f"{kept.stamp}.json"), json.dumps(about, indent=1, default=str))


def place(kept: Kept, target: Path, about_to: Callable[[Path], object] = lambda draft: None) -> None:
    """Make a kept label the file at its place, in one step.

    Args:
        about_to: told of the draft that will be moved there.
    """
    with whole_file(target) as draft:
        shutil.copyfile(kept.file, draft)
        about_to(draft)


def index_lock(studies: Path) -> FileLock:
    """Whoever changes the index of a studies folder, or its labels, holds this lock."""
    return FileLock(studies / ".index.lock")


def restore(studies: Path, history: LabelHistory, study: str, stamp: str) -> Kept:
    """Make a kept final label of a studies folder count again; the present one stays in the history.

    A server of the folder need not be ended: it sees the change of its index.

    Raises:
        NotFoundError: there is no such label.
        OSError: it cannot be written; the present one then still counts.
    """
    with index_lock(studies):
        old = history.get(study, "final", stamp)
        ending = old.file.name.removeprefix(old.stamp)
        present = final_labels(studies).get(study)
        if present:
            history.keep_file(study, "final", present, present.name.removeprefix(study), {})
        info = {key: value for key, value in old.info.items() if key != STAMP} | {"restored": old.stamp}
        kept = history.put(study, "final", old.file, ending, info, old.who)
        target = studies / "labels" / "final" / f"{study}{ending}"
        place(kept, target)
        _into_index(studies / "datastore_v2.json", study, ending, kept.info | {"name": target.name})
        if present and present != target:
            present.unlink()
        history.prune(study, "final")
    return kept


def _into_index(index: Path, study: str, ending: str, info: Mapping[str, Any]) -> None:
    """Also in MONAI Label's index, so that the values mean what they did; without one, the next start does it."""
    try:
        values = json.loads(index.read_text())
        values["objects"][study]["labels"]["final"] = {"ext": ending, "info": dict(info)}
    except (OSError, ValueError, KeyError, TypeError):
        return
    write_whole(index, json.dumps(values, indent=2))


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
