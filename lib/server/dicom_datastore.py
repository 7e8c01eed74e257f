"""MONAI Label's datastore over a DICOMweb server: always what is there now, files on demand, labels as DICOM SEG.

The library's own keeps its lists for two hours, asks for each label by a request of its own, reads labels cropped to
their slices and loses one that cannot be converted. Here a study's id is its SeriesInstanceUID as well, and a label
counts as soon as it was taken.
"""

from __future__ import annotations

import tempfile
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import Datastore

from lib.config import Config
from lib.dicom import volume_file
from lib.dicom.listed import Series
from lib.dicom.studies import DicomStudies
from lib.dicom.web import DicomWeb
from lib.errors import NotFoundError, NotReadyError
from lib.files import full_disk_said, remove
from lib.server.cases import FINAL, labelled_cases, values
from lib.server.checks import check_label, check_name, numbered
from lib.studies.cases import Case, study_id
from lib.studies.label_history import FOLDER as HISTORY
from lib.studies.label_history import STAMP, LabelHistory, index_lock, place
from lib.studies.reading import read_volume

NOT_OURS = "Images and final labels belong to the DICOM server: {} them there"


class DicomDatastore(Datastore):
    """The series of one DICOMweb server.

    Args:
        folder: of the mirror; ``listing.sqlite`` lies in it too.
        watch: check the headers of new series in the background, so that what is no volume is not offered.
    """

    def __init__(self, web: DicomWeb, config: Config, folder: Path, watch: bool = False) -> None:
        self.config, self.folder = config, folder
        self.studies = DicomStudies(web, config, folder, watch)
        self.history = LabelHistory(folder / "labels", config.keep_labels)
        self._agree_with_history()

    @property
    def trouble(self) -> str:
        """Why the server could not be asked; empty if it could."""
        return self.studies.trouble

    def cases(self) -> list[Case]:
        """All studies, those with a final label with it; files arrive when :meth:`Case.usable` is called."""
        return self.studies.cases()

    # What there is

    def name(self) -> str:
        return self.studies.web.url

    def set_name(self, name: str) -> None:
        raise NotReadyError("The studies have the name of their DICOM server")

    def description(self) -> str:
        return "Series of a DICOM server"

    def set_description(self, description: str) -> None:
        raise NotReadyError("The studies have the description of their DICOM server")

    def refresh(self) -> None:
        """Ask the server now, also if it was away a moment ago."""
        self.studies.listing.ask_now()
        self.studies.now()

    def list_images(self) -> list[str]:
        return list(self.studies.now().series)

    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        listed, labelled = self.studies.now(), self.studies.labelled()
        return [uid for uid in listed.series if uid in labelled]

    def get_unlabeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        listed, labelled = self.studies.now(), self.studies.labelled()
        return [uid for uid in listed.series if uid not in labelled]

    def datalist(self, full_path: bool = True) -> list[dict[str, Any]]:
        """Files of the labelled studies; all of them are fetched for it."""
        files = [(case.usable().image, case.label) for case in self.cases() if case.label]
        place = str if full_path else lambda file: str(file.relative_to(self.folder))
        return [{"image": place(image), "label": place(label)} for image, label in files]

    def status(self) -> dict[str, Any]:
        """Counts, and what is wrong at the moment: for ``/info/``, which must answer while the server is away."""
        listed, tags, outbox = self.studies.now(), self._tags(), self.studies.outbox
        waiting = len(outbox.waiting())
        return {
            "total": len(listed.series),
            "completed": len(tags[FINAL]),
            "label_tags": {tag: len(labelled) for tag, labelled in tags.items() if labelled},
            "refused": len(listed.refused),
            "unchecked": len(listed.unchecked),
            "waiting_to_be_stored": waiting,
            "trouble": self.trouble or (outbox.trouble if waiting else ""),
        }

    def json(self) -> dict[str, Any]:
        """As the library's folder of studies shows itself, with the series that cannot be used, and why."""
        listed, tags, notes = self.studies.now(), self._tags(), self.studies.listing.file.get("note image")
        objects = {
            uid: {
                "image": {"ext": ".nii", "info": self._image_info(series, notes.get(uid, {}))},
                "labels": {
                    tag: {"ext": ".nii.gz", "info": self.get_label_info(uid, tag)}
                    for tag, labelled in tags.items() if uid in labelled
                },
            }
            for uid, series in listed.series.items()
        }  # fmt: skip
        about = {"name": self.name(), "description": self.description(), "images_dir": ".", "labels_dir": "labels"}
        return about | {"objects": objects, "refused": listed.refused, "trouble": self.trouble}

    # Images

    def get_image(self, image_id: str, params: Any = None) -> Any:
        file = self.get_image_uri(image_id)
        return Path(file).open("rb") if file else None

    def get_image_uri(self, image_id: str) -> str:
        """The study's file, fetched if it is not at hand; empty if there is no such study.

        Raises:
            StudyError: it is not a volume, or cannot be fetched.
            DicomServerError: it is unknown, and the server cannot be asked.
        """
        series = self.studies.find(image_id)
        return str(self.studies.image(series)) if series else ""

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        """What viewers need to open the study, and what was noted about it here."""
        series = self.studies.known().series.get(image_id)
        return self._image_info(series, self._notes("image", image_id)) if series else {}

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        self._note("image", image_id, info)

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        raise NotReadyError(NOT_OURS.format("add"))

    def remove_image(self, image_id: str) -> None:
        raise NotReadyError(NOT_OURS.format("delete"))

    # Labels

    def get_labels_by_image_id(self, image_id: str) -> dict[str, str]:
        return {tag: image_id for tag, labelled in self._tags().items() if image_id in labelled}

    def get_label_by_image_id(self, image_id: str, tag: str) -> str:
        return self.get_labels_by_image_id(image_id).get(tag, "")

    def get_label(self, label_id: str, label_tag: str, params: Any = None) -> Any:
        file = self.get_label_uri(label_id, label_tag)
        return Path(file).open("rb") if file else None

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        """The label's file on the grid of its study, fetched if it is not at hand; empty if there is none."""
        if label_tag == FINAL:
            return str(self.studies.label(label_id) or "")
        there = label_id in self._tags().get(label_tag, ())
        return str(self.studies.mirror.label_file(label_id, label_tag)) if there else ""

    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        """``label_info`` (names of the values), where the label is on the server, and what was noted about it here."""
        notes = self._notes(label_tag, label_id)
        if label_tag != FINAL:
            return notes
        label = self.studies.known().labels.get(label_id)
        where = {"SeriesInstanceUID": label.uid, "Modality": label.modality} if label else {}
        names = self.studies.names(label_id)
        return notes | where | {"label_info": [{"name": name, "idx": value} for value, name in names.items()]}

    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        check_name("study id", label_id)
        check_name("label tag", label_tag)
        old = self._notes(label_tag, label_id)
        stamp = {STAMP: old[STAMP]} if STAMP in old else {}
        self.history.changed(label_id, label_tag, old.get(STAMP, ""), info)
        self._note(label_tag, label_id, info | stamp)

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        """Take a label: a final one for the server, as DICOM SEG, any other one into the mirror.

        A final label counts from now on. If the server cannot store it at this moment, it waits in the outbox.

        One on another grid of the same patient is resampled; ``note`` of its info says so.

        Raises:
            StudyError, NotReadyError: see :func:`lib.server.checks.check_label`.
            NotFoundError: no such study.
            StorageFullError: the disk is full; the earlier label still counts.
        """
        check_name("label tag", label_tag)
        series = self.studies.find(image_id)
        if series is None:
            raise NotFoundError(f"There is no study '{image_id}' on this server")
        info = dict(label_info or {}) | {"ts": int(time.time())}
        with full_disk_said(f"The label of study '{image_id}' was not taken"), tempfile.TemporaryDirectory() as scratch:
            self._save(series, label_tag, Path(label_filename), info, Path(scratch))
        return image_id

    def remove_label(self, label_id: str, label_tag: str) -> None:
        """Delete a label of another tag, which stays in the history."""
        if label_tag == FINAL:
            raise NotReadyError(NOT_OURS.format("delete"))
        check_name("label tag", label_tag)
        check_name("study id", label_id)
        remove(self.studies.mirror.label_file(label_id, label_tag))

    def get_dataset_archive(self, limit_cases: int | None) -> str:
        """ZIP file of the labelled studies."""
        pairs = self.datalist()[: limit_cases or None]
        if not pairs:
            raise NotReadyError("There is no labelled study to pack yet")
        with tempfile.NamedTemporaryFile(suffix=".zip", delete=False) as file, zipfile.ZipFile(file, "w") as archive:
            for pair in pairs:
                for key, path in pair.items():
                    archive.write(path, f"{key}/{Path(path).name}")
        return file.name

    # Details

    def _save(self, series: Series, tag: str, file: Path, info: dict[str, Any], scratch: Path) -> None:
        """Check a label and keep it in the history; then it counts, and its info is noted."""
        image = self.studies.image(series)
        others = [case for case in labelled_cases(self) if case.id != series.uid]
        submitted = Case(series.uid, image, file, values(info))
        checked, note = check_label(submitted, self.config, self.folder, others, scratch)
        info |= {"note": note} if note else {}
        draft = scratch / "here" / f"{series.uid}.nii.gz"
        if tag == FINAL:
            names, array, affine = numbered(checked, self.config, self.folder, others)
            volume_file.save(draft, array, affine)
            kept = self.history.put(series.uid, tag, draft, ".nii.gz", info | {"names": names})
            params = info.get("params") or {}  # of the inference, where nobody has looked at the label since
            about = {"version": params.get("version", ""), "automatic": bool(params)}
            creator = str(info.get("client_id", ""))
            self.studies.take(kept, array, affine, names, **about, creator=creator)
        else:
            volume_file.save(draft, *read_volume(checked.label or file))
            kept = self.history.put(series.uid, tag, draft, ".nii.gz", info)
            place(kept, self.studies.mirror.label_file(series.uid, tag))
            self.studies.note(kept)
        with index_lock(self.folder):
            self.history.prune(series.uid, tag)
        if tag == FINAL:
            self.studies.outbox.send(self.studies.known().series, at_once=True)

    def _agree_with_history(self) -> None:
        """Note the info of labels that wait and whose process was killed before it could."""
        for uid, about in self.studies.outbox.waiting().items():
            if about.get(STAMP) and self._notes(FINAL, uid).get(STAMP) != about[STAMP]:
                for kept in self.history.all(uid, FINAL):
                    if kept.stamp == about[STAMP]:
                        self.studies.note(kept)

    def _image_info(self, series: Series, notes: Mapping[str, Any]) -> dict[str, Any]:
        address = f"{self.studies.web.url}/studies/{series.study}/series/{series.uid}"
        own = {"Modality": series.modality, "StudyInstanceUID": series.study, "SeriesInstanceUID": series.uid}
        about = series.about | {"RetrieveURL": series.about.get("RetrieveURL") or address}
        file = self.studies.mirror.image_file(self.studies.stem(series.uid))
        return {**about, **own, "name": file.name, "path": str(file), **notes}

    def _tags(self) -> dict[str, set[str]]:
        """Tag -> the studies that have a label of this tag."""
        known, folder = self.studies.known().series.keys(), self.folder / "labels"
        tags = {item.name for item in folder.iterdir()} - {FINAL, HISTORY} if folder.is_dir() else set()
        found = {tag: {study_id(file) for file in (folder / tag).glob("*.nii.gz")} for tag in sorted(tags)}
        return {tag: labelled & known for tag, labelled in found.items()} | {FINAL: self.studies.labelled()}

    def _notes(self, kind: str, uid: str) -> dict[str, Any]:
        return dict(self.studies.listing.file.get(f"note {kind}").get(uid, {}))

    def _note(self, kind: str, uid: str, info: Mapping[str, Any]) -> None:
        self.studies.listing.file.put(f"note {kind}", {uid: self._notes(kind, uid) | dict(info)})
