"""Routes by which files and what is said of them come in and go out, in the place of MONAI Label's own.

The originals join names from requests to paths, keep whatever JSON they are given, and leave archives behind.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, BackgroundTasks, File, Form, UploadFile
from fastapi.responses import FileResponse
from monailabel.endpoints import datastore as theirs
from monailabel.endpoints.infer import ResultType, send_response
from monailabel.endpoints.user.auth import User
from monailabel.interfaces.datastore import DefaultLabelTag
from monailabel.utils.others.generic import file_checksum, get_mime_type, remove_file

from lib.errors import ConfigError, NotFoundError, NotReadyError
from lib.server.checks import check_name
from lib.server.params import for_inference
from lib.server.routes import admin_role, annotator_role, served_app, user_role
from lib.server.strict_json import parse_object
from lib.server.uploads import held, keep, publish_model, session
from lib.studies.cases import study_id

router = APIRouter()
FINAL = DefaultLabelTag.FINAL.value
ALGORITHMS = ("SHA256", "SHA512", "MD5")
SESSIONS = 10  # uploads of the largest size that all sessions together may take


@router.post("/infer/{model}", tags=["Infer"], summary="Segment a study, or a file that is sent along")
async def infer(
    model: str, background: BackgroundTasks, image: str = "", session_id: str = "", params: str = Form("{}"),
    file: Annotated[UploadFile | None, File()] = None, output: ResultType | None = None, user: User = user_role,
) -> Any:  # fmt: skip
    """``params``: see ``docs/reference/http.md``. A label that is sent along is not looked at."""
    app = served_app()
    if not (image or session_id or file):
        raise ConfigError("There is nothing to segment: name a study by image, an upload by session_id, or send a file")
    if output == ResultType.dicom_seg:
        raise ConfigError("output=dicom_seg is not made here; with save_label a DICOM server gets the label as a SEG")
    request = for_inference(parse_object(params, "The field params")) | {"model": model}
    with ExitStack() as block:
        source: str | Path = image  # text is the id of a study, never a path
        if session_id:
            source = Path(session(app.sessions(), session_id, touch=True).image)
        elif file:
            source = block.enter_context(held(file))
        result = app.infer(request | {"image": source})
    return send_response(app.datastore(), result, output, background)


@router.put("/datastore/image", tags=["Datastore"], summary="Add an image")
@router.put("/datastore/", include_in_schema=False)
async def add_image(
    file: Annotated[UploadFile, File()], image: str = "", params: str = Form("{}"), user: User = annotator_role
) -> dict[str, Any]:
    """Without ``image`` the file's name is its id. 3D Slicer asks by the second of these paths."""
    info = parse_object(params, "The field params") | {"user": user.username}
    with held(file, image) as held_file:
        return {"image": served_app().datastore().add_image(image or study_id(held_file), str(held_file), info)}


@router.put("/datastore/label", tags=["Datastore"], summary="Submit a label")
async def save_label(
    image: str, label: Annotated[UploadFile, File()], params: str = Form("{}"), tag: str = FINAL,
    user: User = annotator_role,
) -> dict[str, Any]:  # fmt: skip
    """``params`` may have ``label_info``: the names of its values."""
    app, info = served_app(), parse_object(params, "The field params")
    with held(label, image) as file:
        stored = app.datastore().save_label(image, str(file), tag or FINAL, info)
    return (app.on_save_label(image, stored) or {}) | {"image": image, "label": stored}


@router.put("/datastore/image/info", tags=["Datastore"], summary="Note something on an image")
async def note_on_image(image: str, info: str = Form("{}"), user: User = annotator_role) -> Any:
    """Keys that are there already are replaced."""
    said = parse_object(info, "The field info") | {"user": user.username}
    return served_app().datastore().update_image_info(image, said)


@router.put("/datastore/label/info", tags=["Datastore"], summary="Note something on a label")
async def note_on_label(label: str, tag: str, info: str = Form("{}"), user: User = annotator_role) -> Any:
    """Keys that are there already are replaced."""
    check_name("label tag", tag)
    said = parse_object(info, "The field info") | {"user": user.username}
    return served_app().datastore().update_label_info(label, tag, said)


@router.put("/datastore/updatelabelinfo", include_in_schema=False)
async def note_on_label_by_its_old_name(
    label: str, tag: str, params: str = Form("{}"), user: User = annotator_role
) -> Any:
    """The same."""
    return await note_on_label(label, tag, params, user)


@router.head("/datastore/image", tags=["Datastore"], summary="Is there such an image?")
async def check_image(image: str, check_sum: str = "", user: User = user_role) -> dict[str, Any]:
    """``check_sum``: also, is its file the same? As ``SHA256:digits``, ``SHA512:...`` or ``MD5:...``."""
    theirs.download_image(image, check_only=True)
    algorithm, _, digits = check_sum.rpartition(":")
    if check_sum and (algorithm or ALGORITHMS[0]) not in ALGORITHMS:
        raise ConfigError(f"The check sum '{algorithm[:20]}' is none of {', '.join(ALGORITHMS)}")
    file = served_app().datastore().get_image_uri(image)
    if check_sum and file_checksum(file, algorithm or ALGORITHMS[0]).rpartition(":")[2] != digits.lower():
        raise NotFoundError(f"Study '{image}' has another check sum")
    return {}


@router.get("/datastore/dataset", tags=["Datastore"], summary="The labelled studies as a ZIP file")
async def dataset(
    background: BackgroundTasks, limit_cases: int | None = None, user: User = annotator_role
) -> FileResponse:
    """Images, labels and what is noted on them."""
    file = served_app().datastore().get_dataset_archive(limit_cases)
    background.add_task(remove_file, file)
    return FileResponse(file, media_type="application/zip", filename="dataset.zip", background=background)


@router.put("/session/", tags=["Session"], summary="Upload a file to be segmented, and keep it for a while")
async def create_session(
    files: Annotated[list[UploadFile], File()], uncompress: bool = False, expiry: int = 0, user: User = user_role
) -> dict[str, Any]:
    """One image. Archives are not unpacked: an image is one file here, and an archive can hold anything."""
    app = served_app()
    if uncompress or len(files) != 1:
        raise ConfigError("A session holds one image, not compressed in an archive: send the image's own file")
    key, info = keep(app.sessions(), files[0], expiry, SESSIONS * app.config.upload_gb * 1e9)
    return {"session_id": key, "session_info": _shown(info)}


@router.get("/session/{session_id}", tags=["Session"], summary="What is known of an upload, or its file")
async def get_session(session_id: str, update_ts: bool = False, image: bool = False, user: User = user_role) -> Any:
    """``image``: the file. ``update_ts``: its time begins anew."""
    info = session(served_app().sessions(), session_id, update_ts)
    if image:
        return FileResponse(info.image, media_type=get_mime_type(info.image), filename=Path(info.image).name)
    return _shown(info)


@router.delete("/session/{session_id}", tags=["Session"], summary="End an upload's keeping")
async def remove_session(session_id: str, user: User = user_role) -> dict[str, Any]:
    """Its file is deleted."""
    app = served_app()
    info = session(app.sessions(), session_id)
    app.sessions().remove_session(session_id)
    return _shown(info)


@router.put("/model/{model}", tags=["Model"], summary="Upload a model, which goes live as the next version")
async def upload_model(
    model: str, file: Annotated[UploadFile | None, File()] = None, user: User = admin_role
) -> dict[str, str]:
    """Refused unless ``--conf model_uploads true``: what is live is changed by trainings and by ``restore``."""
    app = served_app()
    app.model_file(model)
    return {"version": publish_model(file, app.config, app.folder)}


@router.delete("/model/{model}", tags=["Model"], summary="Refused")
async def delete_model(model: str, user: User = admin_role) -> None:
    """Versions go by themselves when they are many."""
    served_app().model_file(model)
    raise NotReadyError("The live model is not deleted; see 'restore' of the command line for the versions before it")


def _shown(info: Any) -> dict[str, Any]:
    """Without the paths of this machine."""
    return info.to_json() | {"path": "", "image": Path(info.image).name}
