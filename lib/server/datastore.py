"""MONAI Label's folder datastore, safe for several threads and processes, and closed to what cannot be used.

The library keeps the index of a folder in memory and in ``datastore_v2.json``, and writes it in place: requests in
parallel, a batch inference beside a submitted label, or a power cut lose entries or leave a file that no server
starts with. Here every change is made alone, on the newest index, and replaces the file in one step.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock
from monailabel.datastore.local import DataModel, LocalDatastore

from lib.config import Config
from lib.errors import NotFoundError, NotReadyError
from lib.server.cases import FINAL, case_of, labelled_cases, values
from lib.server.checks import check_image, check_label, check_name
from lib.studies.cases import SPELLINGS, Case

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
    update_image_info, update_label_info = _writer("update_image_info"), _writer("update_label_info")
    remove_label, _reconcile_datastore = _writer("remove_label"), _writer("_reconcile_datastore")

    def __init__(self, folder: str, config: Config, auto_reload: bool = False, read_only: bool = False) -> None:
        self._config = config
        self._threads = threading.RLock()
        self._processes = FileLock(Path(folder) / ".index.lock")
        self._refused: set[str] = set()
        self._cases: dict[str, tuple[Any, Case]] = {}
        _set_aside_if_broken(Path(folder) / "datastore_v2.json")
        extensions = [f"*{end}" for end in SPELLINGS]
        super().__init__(folder, extensions=extensions, auto_reload=auto_reload, read_only=read_only)
        if auto_reload:  # files that are renamed into place, by this class and by many tools
            self._handler.on_moved = self._on_moved

    def get_image_uri(self, image_id: str) -> str:
        """The file under its own name, which tells the modality; the library would follow a link to another one."""
        known = self._datastore.objects.get(image_id)
        name = self._filename(image_id, known.image.ext) if known else ""
        return os.path.abspath(os.path.join(self._datastore.image_path(), name)) if known else ""

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        """The file under its own name, as of the image."""
        known = self._datastore.label(label_id, label_tag)
        name = self._filename(label_id, known.ext) if known else ""
        return os.path.abspath(os.path.join(self._datastore.label_path(label_tag), name)) if known else ""

    def cases(self) -> list[Case]:
        """All studies, those with a final label with it; what has not changed since the last call is not made anew."""
        with self._threads:
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
            return super().add_image(image_id, image_filename, image_info)

    def remove_image(self, image_id: str) -> None:
        """Delete a study with its labels."""
        self._known(image_id)
        with self._alone():
            super().remove_image(image_id)

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        """Store a label after it was checked; an earlier one of the same tag is replaced in one step.

        Raises:
            StudyError, NotReadyError: see :func:`lib.server.checks.check_label`.
            NotFoundError: no such study.
        """
        check_name("label tag", label_tag)
        self._known(image_id)
        others = [case for case in labelled_cases(self) if case.id != image_id]
        submitted = Case(image_id, Path(self.get_image_uri(image_id)), Path(label_filename), values(label_info or {}))
        check_label(submitted, self._config, Path(self._datastore_path), others)
        with self._alone():
            self._store_label(image_id, label_filename, label_tag, dict(label_info or {}))
        return image_id

    def get_dataset_archive(self, limit_cases: int | None) -> str:
        """ZIP file of the labelled studies."""
        if not self.get_labeled_images():
            raise NotReadyError("There is no labelled study to pack yet")
        return super().get_dataset_archive(limit_cases)

    def _store_label(self, image_id: str, file: str, tag: str, info: dict[str, Any]) -> None:
        folder = Path(self._datastore.label_path(tag))
        folder.mkdir(parents=True, exist_ok=True)
        extension = self._to_id(os.path.basename(file))[1]
        target = folder / self._filename(image_id, extension)
        draft = folder / f".{target.name}.{os.getpid()}"
        shutil.copyfile(file, draft)
        os.replace(draft, target)
        labels = self._datastore.objects[image_id].labels
        if tag in labels and labels[tag].ext != extension:
            (folder / self._filename(image_id, labels[tag].ext)).unlink(missing_ok=True)
        labels[tag] = DataModel(info=info | {"ts": int(time.time()), "name": target.name}, ext=extension)
        self._update_datastore_file()

    def _known(self, image_id: str) -> None:
        if not self.get_image_uri(image_id):
            raise NotFoundError(f"There is no study '{image_id}' on this server")

    @contextmanager
    def _alone(self, reload: bool = True) -> Iterator[None]:
        with self._threads, self._processes:
            if reload:
                self._init_from_datastore_file()
            yield

    def _on_moved(self, event: Any) -> None:
        if event.dest_path == self._datastore_config_path:
            self._init_from_datastore_file()
        else:
            self._on_any_event(event)

    def _update_datastore_file(self, lock: bool = True) -> None:
        draft = f"{self._datastore_config_path}.{os.getpid()}"
        with self._alone(reload=False):
            Path(draft).write_text(json.dumps(self._datastore.model_dump(exclude={"base_path"}), indent=2, default=str))
            os.replace(draft, self._datastore_config_path)
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


def _set_aside_if_broken(index: Path) -> None:
    """A truncated index would keep the server from starting; images and labels are found again without it."""
    try:
        json.loads(index.read_text())
    except FileNotFoundError:
        return
    except ValueError:
        aside = index.with_name(f"{index.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
        index.replace(aside)
        logger.error("%s was damaged and is now %s: all is listed anew, infos of clients are lost", index, aside.name)
