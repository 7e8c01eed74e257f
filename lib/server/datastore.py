"""MONAI Label's folder datastore, safe for several threads and processes, and closed to what cannot be used.

The library keeps the index of a folder in memory and in ``datastore_v2.json``, and writes it in place: requests in
parallel, a batch inference beside a submitted label, or a power cut lose entries or leave a file that no server
starts with. Here every change is made alone, on the newest index, and replaces the file in one step.

A label is in the history with its info before it takes its place, and its move there is what makes it count. So
whatever moment the power goes, the next start finds the info that belongs to the file; see ``_agree_with_history``.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from monailabel.datastore.local import DataModel, ImageLabelModel, LocalDatastore

from lib.config import Config
from lib.errors import NotFoundError, NotReadyError
from lib.files import full_disk_said, remove, write_whole
from lib.server.cases import FINAL, case_of, labelled_cases, values
from lib.server.checks import check_image, check_label, check_name
from lib.server.index_file import mend_index
from lib.server.news import News
from lib.studies.cases import SPELLINGS, Case
from lib.studies.label_history import STAMP, Kept, LabelHistory, index_lock, place

logger = logging.getLogger(__name__)


def _reader(name: str) -> Callable[..., Any]:
    """The library's method, which goes over the index, while no other thread changes it."""
    method = getattr(LocalDatastore, name)

    @functools.wraps(method)
    def call(self: FolderDatastore, *args: Any, **kwargs: Any) -> Any:
        with self._threads:
            return method(self, *args, **kwargs)

    return call


def _writer(name: str) -> Callable[..., Any]:
    """The library's method, which changes the index, alone and on the newest state of it."""
    method = getattr(LocalDatastore, name)

    @functools.wraps(method)
    def call(self: FolderDatastore, *args: Any, **kwargs: Any) -> Any:
        with self._alone():
            return method(self, *args, **kwargs)

    return call


class FolderDatastore(LocalDatastore):
    """The studies of a folder: images directly in it, labels under ``labels/<tag>/``."""

    list_images, datalist, status, json = (_reader(name) for name in ("list_images", "datalist", "status", "json"))
    get_labeled_images, get_unlabeled_images = _reader("get_labeled_images"), _reader("get_unlabeled_images")
    get_image_info, get_label_info = _reader("get_image_info"), _reader("get_label_info")
    get_labels_by_image_id = _reader("get_labels_by_image_id")
    update_image_info = _writer("update_image_info")
    _reconcile_datastore = _writer("_reconcile_datastore")

    def __init__(self, folder: str, config: Config, auto_reload: bool = False, read_only: bool = False) -> None:
        self._config = config
        self._threads = threading.RLock()
        self._processes = index_lock(Path(folder))
        self.history = LabelHistory(Path(folder) / "labels", config.keep_labels)
        self._refused: set[str] = set()
        self._news = News(folder, os.path.join(folder, "datastore_v2.json"))
        self._cases: dict[str, tuple[Any, Case]] = {}
        self._listed: list[Case] | None = None
        with self._processes:
            mend_index(Path(folder) / "datastore_v2.json")
        extensions = [f"*{end}" for end in SPELLINGS]
        super().__init__(folder, extensions=extensions, auto_reload=auto_reload, read_only=read_only)
        if not read_only:
            self._agree_with_history()
        if auto_reload:  # files that are renamed into place, by this class and by many tools
            self._handler.on_moved = self._on_moved
            heard = self._handler.dispatch
            self._handler.dispatch = lambda event: heard(event) if self._news.is_news(event) else None

    def get_image_uri(self, image_id: str) -> str:
        """The file under its own name, which tells the modality; the library would follow a link to another one."""
        with self._threads:
            known = self._datastore.objects.get(image_id)
            name = self._filename(image_id, known.image.ext) if known else ""
            return os.path.abspath(os.path.join(self._datastore.image_path(), name)) if known else ""

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        """The file under its own name, as of the image."""
        with self._threads:
            known = self._datastore.label(label_id, label_tag)
            name = self._filename(label_id, known.ext) if known else ""
            return os.path.abspath(os.path.join(self._datastore.label_path(label_tag), name)) if known else ""

    def cases(self) -> list[Case]:
        """All studies, those with a final label with it; what has not changed since the last call is not made anew."""
        with self._threads:
            if self._listed is None:
                self._listed = self._list_cases()
            return list(self._listed)

    def _list_cases(self) -> list[Case]:
        before, self._cases = self._cases, {}
        for study, item in self._datastore.objects.items():
            label = item.labels.get(FINAL)
            state = (item.image.ext, label and (label.ext, label.info.get("label_info")))
            known = before.get(study)
            self._cases[study] = known if known and known[0] == state else (state, case_of(self, study))
        return [case for _, case in self._cases.values()]

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Add an image, or replace one that has no label yet.

        Raises:
            StudyError: an impossible id, or a file that cannot be read.
            NotReadyError: the study has labels, which would no longer fit.
        """
        check_name("study id", image_id)
        check_image(image_id, Path(image_filename))
        with self._alone():
            if self.get_labels_by_image_id(image_id):
                raise NotReadyError(f"Study '{image_id}' has labels already: delete it first, or use another id")
            self._cut_link(image_id, self._to_id(os.path.basename(image_filename))[1])
            return super().add_image(image_id, image_filename, image_info)

    def remove_image(self, image_id: str) -> None:
        """Delete a study with its labels, which stay in the history."""
        self._known(image_id)
        with self._alone():
            self._cut_link(image_id, self._datastore.objects[image_id].image.ext)
            super().remove_image(image_id)

    def _cut_link(self, image_id: str, ending: str) -> None:
        """An image that is a link to another place is replaced or deleted here, not there, where the library goes."""
        file = Path(self._datastore.image_path()) / self._filename(image_id, ending)
        if file.is_symlink():
            file.unlink()

    def remove_label(self, label_id: str, label_tag: str) -> None:
        """Delete a label, which stays in the history."""
        with self._alone():
            self._keep_present(label_id, label_tag)
            super().remove_label(label_id, label_tag)

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        """Store a label after it was checked; an earlier one of the same tag is replaced in one step, and kept.

        One on another grid of the same patient is resampled; ``note`` of its info says so.

        Raises:
            StudyError, NotReadyError: see :func:`lib.server.checks.check_label`.
            NotFoundError: no such study.
            StorageFullError: the disk is full; the earlier label still counts.
        """
        check_name("label tag", label_tag)
        self._known(image_id)
        others = [case for case in labelled_cases(self) if case.id != image_id]
        submitted = Case(image_id, Path(self.get_image_uri(image_id)), Path(label_filename), values(label_info or {}))
        with full_disk_said(f"The label of study '{image_id}' was not taken"), tempfile.TemporaryDirectory() as scratch:
            checked, note = check_label(submitted, self._config, Path(self._datastore_path), others, Path(scratch))
            assert checked.label is not None
            info = dict(label_info or {}) | {"ts": int(time.time())} | ({"note": note} if note else {})
            ending = self._to_id(checked.label.name)[1]
            info["name"] = self._filename(image_id, ending)
            kept = self.history.put(image_id, label_tag, checked.label, ending, info)
            with self._alone():
                self._store_label(kept, ending)
        return image_id

    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        """Change the info of a label, in the history too.

        Raises:
            NotFoundError: there is none; looked up first, since its name becomes part of a path of the history.
        """
        with self._alone():
            if not self.get_label_uri(label_id, label_tag):
                raise NotFoundError(f"Study '{label_id}' has no label with the tag '{label_tag}'")
            old = self.get_label_info(label_id, label_tag)
            self.history.changed(label_id, label_tag, old.get(STAMP, ""), info)
            super().update_label_info(label_id, label_tag, info | ({STAMP: old[STAMP]} if STAMP in old else {}))

    def get_dataset_archive(self, limit_cases: int | None) -> str:
        """ZIP file of the labelled studies."""
        if not self.get_labeled_images():
            raise NotReadyError("There is no labelled study to pack yet")
        return super().get_dataset_archive(limit_cases)

    def _store_label(self, kept: Kept, ending: str) -> None:
        """Make a kept label count. With the move of its file it does; all else follows from that."""
        self._known(kept.study)
        self._keep_present(kept.study, kept.tag)
        before = self.get_label_uri(kept.study, kept.tag)
        target = Path(self._datastore.label_path(kept.tag)) / self._filename(kept.study, ending)
        place(kept, target, lambda draft: self._news.own(target, draft))
        if before and Path(before) != target:
            remove(Path(before))
        self._datastore.objects[kept.study].labels[kept.tag] = DataModel(info=kept.info, ext=ending)
        self._update_datastore_file()
        self.history.prune(kept.study, kept.tag)

    def _keep_present(self, study: str, tag: str) -> None:
        """What another program has put in the place of a label is kept too, before it is replaced or deleted."""
        present = self.get_label_uri(study, tag)
        if present and os.path.isfile(present):
            info = self.get_label_info(study, tag)
            self.history.keep_file(study, tag, Path(present), self._to_id(os.path.basename(present))[1], info)

    def _agree_with_history(self) -> None:
        """Find the info of labels whose process was killed before it could write the index, or whose index was lost."""
        with self._alone():
            found = 0
            for study, item in self._datastore.objects.items():
                for tag in {folder.name for folder in _folders(self.history.folder)} | item.labels.keys():
                    known = item.labels.get(tag, DataModel()).info.get(STAMP, "")
                    if known != self.history.newest(study, tag):
                        found += self._take_from_history(study, tag, item, known)
            if found:
                logger.warning("The infos of %d labels were taken from their history", found)
                self._update_datastore_file()

    def _take_from_history(self, study: str, tag: str, item: ImageLabelModel, known: str) -> bool:
        """The info of the file that lies there; of two types, if the power went in between, the later one counts."""
        folder = Path(self._datastore.label_path(tag))
        files = [file for end in SPELLINGS if (file := folder / self._filename(study, end)).is_file()]
        kept = {file: each for file in files if (each := self.history.find(study, tag, file, known))}
        if not kept:
            return False
        latest = max(kept, key=lambda file: kept[file].stamp)
        for file in kept.keys() - {latest}:
            remove(file)
        item.labels[tag] = DataModel(info=kept[latest].info, ext=self._to_id(latest.name)[1])
        return kept[latest].stamp != known

    def _known(self, image_id: str) -> None:
        if not self.get_image_uri(image_id):
            raise NotFoundError(f"There is no study '{image_id}' on this server")

    @contextmanager
    def _alone(self, reload: bool = True) -> Iterator[None]:
        with self._processes, self._threads:  # whoever waits for another process holds up no reader
            if reload:
                self._init_from_datastore_file()
            yield

    def _init_from_datastore_file(self, throw_exception: bool = False) -> None:
        with self._threads:  # for a moment it has no folder, or no studies
            self._listed = None  # each change begins with this too
            super()._init_from_datastore_file(throw_exception)

    def _on_moved(self, event: Any) -> None:
        if event.dest_path == self._datastore_config_path:
            self._init_from_datastore_file()
        else:
            self._on_any_event(event)

    def _update_datastore_file(self, lock: bool = True) -> None:
        with self._alone(reload=False):
            content = json.dumps(self._datastore.model_dump(exclude={"base_path"}), indent=2, default=str)
            write_whole(Path(self._datastore_config_path), content)
            self._config_ts = os.stat(self._datastore_config_path).st_mtime

    def _list_files(self, path: str, patterns: Sequence[str]) -> dict[str, str]:
        """Files only; what merely has an image's name is said once in the log."""
        found = super()._list_files(path, patterns)
        visible = {name: file for name, file in found.items() if not name.startswith(".")}
        files = {name: file for name, file in visible.items() if os.path.isfile(os.path.join(path, file))}
        for name in visible.keys() - files.keys() - self._refused:
            logger.warning("Left out of the studies: %s is not a file", os.path.join(path, name))
            self._refused.add(name)
        return files


def _folders(folder: Path) -> list[Path]:
    return [item for item in folder.iterdir() if item.is_dir()] if folder.is_dir() else []
