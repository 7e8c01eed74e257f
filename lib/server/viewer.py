"""OHIF as the monailabel wheel carries it, with the configuration that makes it whole: see ``ohif_extension.js``."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Depends, Response
from monailabel.config import settings
from monailabel.endpoints import ohif
from monailabel.endpoints.user.auth import RBAC

EXTENSION = Path(__file__).with_name("ohif_extension.js")

router = APIRouter(dependencies=[Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))])


@router.get("/ohif/app-config.js", include_in_schema=False)
async def configuration() -> Response:
    """The wheel's configuration of OHIF with our extension appended."""
    theirs = Path(ohif.get_ohif("app-config.js").path).read_text()
    text = f"{theirs}\n{EXTENSION.read_text()}"
    return Response(text, media_type="text/javascript", headers={"Cache-Control": "no-cache"})


def asked_by_ohif(referer: str) -> bool:
    """Whether a request comes from OHIF, by its ``Referer`` header."""
    return "/ohif/" in referer
