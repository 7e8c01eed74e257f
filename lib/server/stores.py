"""Where the studies are: a folder, or a DICOMweb server."""

from __future__ import annotations

from monailabel.config import settings
from monailabel.interfaces.datastore import Datastore

from lib.config import Config
from lib.dicom.web import DicomWeb
from lib.server.datastore import FolderDatastore
from lib.server.dicom_datastore import DicomDatastore
from lib.training.model_folder import ModelFolder


def store_of(studies: str, config: Config, folder: ModelFolder) -> Datastore | None:
    """The datastore of what ``--studies`` names; None for the servers that MONAI Label knows and we do not."""
    reload = settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD  # in the server, not in its tasks
    if "://" not in studies:
        return FolderDatastore(studies, config, auto_reload=reload, read_only=settings.MONAI_LABEL_DATASTORE_READ_ONLY)
    address = studies.rstrip("/")
    if settings.MONAI_LABEL_DATASTORE.lower() in ("xnat", "dsa") or "googleapis.com" in address:
        return None
    web = DicomWeb(address, settings.MONAI_LABEL_DICOMWEB_USERNAME, settings.MONAI_LABEL_DICOMWEB_PASSWORD)
    return DicomDatastore(web, config, folder.mirror, watch=reload)
