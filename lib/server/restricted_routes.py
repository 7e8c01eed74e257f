"""Routes of MONAI Label that are shut here, or give less than theirs."""

from __future__ import annotations

import shutil
import subprocess
from collections import deque
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, PlainTextResponse
from monailabel.config import settings
from monailabel.endpoints import ohif
from monailabel.endpoints.user.auth import User
from monailabel.utils.others.generic import get_mime_type

from lib.errors import ConfigError, NotFoundError
from lib.server.routes import admin_role, user_role

router = APIRouter()
VIEWER = Path(ohif.__file__).parent / "static" / "ohif"
MOST_LINES = 10_000


@router.post("/reload", include_in_schema=False)
async def reload(user: User = admin_role) -> None:
    """The original makes a second app beside the one that answers, without its layers."""
    raise NotFoundError("Nothing is reloaded while the server runs: start it anew")


@router.post("/infer/wsi/{model}", include_in_schema=False)
@router.post("/infer/wsi_v2/{model}", include_in_schema=False)
async def whole_slides(model: str, user: User = user_role) -> None:
    """The originals open any path."""
    raise NotFoundError("Whole slide images are not segmented here")


@router.get("/logs/", tags=["Others"], summary="The last lines of the server's log", response_class=PlainTextResponse)
async def logs(lines: int = 300, user: User = admin_role) -> PlainTextResponse:
    """Plain text; the original is a page that loads scripts from other servers."""
    if not 0 < lines <= MOST_LINES:
        raise ConfigError(f"lines = {str(lines)[:20]} is outside of 1 to {MOST_LINES}")
    file = Path(settings.MONAI_LABEL_APP_DIR) / "logs" / "app.log"
    if not file.is_file():
        raise NotFoundError("This server writes no log file")
    with file.open(errors="replace") as text:
        return PlainTextResponse("".join(deque(text, lines)))


@router.get("/logs/gpu", tags=["Others"], summary="What nvidia-smi says", response_class=PlainTextResponse)
async def gpu(user: User = admin_role) -> PlainTextResponse:
    """Of the machine's NVIDIA GPUs."""
    program = shutil.which("nvidia-smi")
    if not program:
        raise NotFoundError("There is no nvidia-smi on this machine")
    done = subprocess.run([program], capture_output=True, text=True, timeout=20, check=False)
    return PlainTextResponse(done.stdout)


@router.get("/ohif/{path:path}", include_in_schema=False)
async def viewer(path: str, user: User = user_role) -> FileResponse:
    """A file of OHIF; its start page for the addresses that OHIF makes up itself."""
    file = (VIEWER / path.replace("\0", "")).resolve()
    if VIEWER.resolve() not in file.parents or not file.is_file():
        file = VIEWER / "index.html"
    return FileResponse(file, media_type=get_mime_type(str(file)))
