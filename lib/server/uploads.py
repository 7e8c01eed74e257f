"""Files that clients upload: while a request lasts, kept for a while as a session, or models.

MONAI Label takes a session's id and a file's name for parts of a path as they are. It then reads, and deletes, whatever
folder of the disk an id leads to.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastapi import UploadFile
from monailabel.utils.sessions import SessionInfo, Sessions

from lib.config import Config
from lib.errors import BusyError, ConfigError, NotFoundError, NotReadyError, SemisegError, StudyError
from lib.files import full_disk_said
from lib.inference.model_file import Model
from lib.server.checks import check_name
from lib.studies.cases import EXTENSIONS, SPELLINGS, study_id
from lib.training.model_folder import ModelFolder

UNNAMED = "upload.nii.gz"  # a file that its client gave no name
SESSION = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")  # a UUID, as the library makes it
LATER = 600  # seconds; until then some sessions will have expired


@contextmanager
def held(upload: UploadFile, study: str = "") -> Iterator[Path]:
    """The upload as a file of its own name, which tells its type and modality, in a folder that ends with the block.

    Args:
        study: what it belongs to, for the sentences; empty: what its name says.

    Raises:
        StudyError: a name that is no possible one, or not one of the types that are read.
        StorageFullError: there is no room for it.
    """
    name = upload.filename or UNNAMED
    check_name("file name", name)
    if not name.endswith(SPELLINGS):
        kind = Path(name).suffix or "without an ending"
        remedy = f"Use one of {', '.join(EXTENSIONS)}"
        raise StudyError(study or study_id(name), f"files of the type '{kind}' are not read", remedy)
    with tempfile.TemporaryDirectory(prefix="semiseg-") as folder:
        file = Path(folder) / name
        with full_disk_said("The upload was not taken"), file.open("xb") as target:
            shutil.copyfileobj(upload.file, target)
        yield file


def keep(sessions: Sessions | None, upload: UploadFile, expiry: int, most: float) -> tuple[str, SessionInfo]:
    """Keep an upload as a session.

    Args:
        expiry: seconds; 0: as the server has it. most: bytes that all sessions may take together.

    Returns:
        Its id, and what is known of it.

    Raises:
        StudyError: see :func:`held`. BusyError: the sessions take too much already.
    """
    store = _enabled(sessions)
    taken = sum(file.stat().st_size for file in Path(store.store_path).rglob("*") if file.is_file())
    if taken + (upload.size or 0) > most:
        sentence = f"The uploads that are kept here take {taken / 1e9:.1f} GB: try again when some have ended"
        raise BusyError(sentence, LATER)
    with held(upload) as file, full_disk_said("The upload was not kept"):
        return store.add_session(str(file), max(0, expiry))


def session(sessions: Sessions | None, key: str, touch: bool = False) -> SessionInfo:
    """What is known of a session.

    Args:
        touch: its time begins anew.

    Raises:
        NotFoundError: no such session, or it has ended.
    """
    store = _enabled(sessions)
    found = store.get_session(key, update_ts=touch) if SESSION.fullmatch(key) else None
    if found is None or Path(store.store_path).resolve() / key not in Path(found.image).resolve().parents:
        raise NotFoundError(f"There is no session '{key[:60]}'; it may have ended")
    return found


def publish_model(upload: UploadFile | None, config: Config, folder: ModelFolder) -> str:
    """Let an uploaded model go live as the next version, if the settings allow it. Code that it holds is not run.

    Returns:
        Its version here.

    Raises:
        NotReadyError: it is not allowed, or a training is under way, which may publish too.
        ConfigError: it is no model of this program.
        StorageFullError: there is no room for it.
    """
    if not config.model_uploads:
        raise NotReadyError("Models are published by trainings; --conf model_uploads true lets admins upload others")
    if upload is None:
        raise ConfigError("There is no model in the request: send it as file")
    with tempfile.NamedTemporaryFile(prefix="semiseg-", suffix=".pt") as file:
        with full_disk_said("The model was not taken"):
            shutil.copyfileobj(upload.file, file)
            file.flush()
        try:
            model = Model.load(Path(file.name))
            model.build()
        except SemisegError as error:
            raise ConfigError("What was sent is no model that this semiseg can use; train one, or update it") from error
    with folder.lock("training"):
        return folder.publish(model, config.keep_versions)


def _enabled(sessions: Sessions | None) -> Sessions:
    if sessions is None:
        raise ConfigError("This server keeps no uploads: MONAI_LABEL_SESSIONS is off")
    return sessions
