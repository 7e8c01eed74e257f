"""The routes of the project page: its files, its data, and going back to an earlier model."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from monailabel.config import settings
from monailabel.endpoints.user.auth import RBAC

import lib.page
from lib.errors import BusyError, NotFoundError
from lib.page.answers import Answer
from lib.server.caller import reader
from lib.server.page import ProjectPage

STATIC = Path(lib.page.__file__).parent / "static"
TYPES = {
    ".svg": "image/svg+xml",
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
# nothing from elsewhere and nothing inline, whatever a study or a class is called
POLICY = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
REPORT = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"  # one file, no script
PRIVATE = {"Cache-Control": "private, no-cache", "Vary": "Authorization, Cookie"}  # asked for again, each time
FRESH = {"Content-Security-Policy": POLICY, **PRIVATE}
Number = Query(1, alias="page", ge=1, le=1_000_000, description="page of the list, from 1 on")


def page_router(page: ProjectPage) -> APIRouter:
    """The routes over these blocks."""
    user, admin = (
        Depends(RBAC(role)) for role in (settings.MONAI_LABEL_AUTH_ROLE_USER, settings.MONAI_LABEL_AUTH_ROLE_ADMIN)
    )
    router = APIRouter(prefix="/semiseg", tags=["Project page"], dependencies=[user])
    files = {file.name: (file.read_bytes(), _tag(file.read_bytes()), TYPES[file.suffix]) for file in STATIC.iterdir()}

    @router.get("/", include_in_schema=False)
    async def start(request: Request) -> Response:
        return _fresh(request, *files["index.html"])

    @router.get("/static/{name}", include_in_schema=False)
    async def static(request: Request, name: str) -> Response:
        if name not in files:
            raise NotFoundError(f"The page has no file '{name[:100]}'")
        return _fresh(request, *files[name])

    @router.get("/data/now", summary="The training, what waits, errors, and a stamp of each other block")
    async def now(request: Request) -> Response:
        """Cheap enough to be asked every two seconds. A block is worth asking for when its stamp has changed."""
        return _answer(request, page.now())

    @router.get("/data/model", summary="Rounds, versions, comparisons and monitors")
    async def model(request: Request) -> Response:
        """See ``lib/page/model.py``."""
        return _answer(request, page.model())

    @router.get("/data/next", summary="The unlabelled studies by their scores, 50 a page")
    async def following(request: Request, client_id: str = "", number: int = Number) -> Response:
        """``client_id`` is the reader whose skips are shown; whoever has logged in sees the own ones."""
        return _answer(request, page.next(reader(client_id), number))

    @router.get("/data/labels", summary="The labels, newest first, 50 a page; doubts, events, refused studies")
    async def labels(request: Request, number: int = Number) -> Response:
        """See ``lib/page/labels.py``."""
        return _answer(request, page.labels(number))

    @router.get("/data/budget", summary="Dice over labels, and what the next ones are expected to bring")
    async def budget(request: Request) -> Response:
        """See ``lib/page/budget.py``."""
        return _answer(request, page.budget())

    @router.get("/picture/{study}", summary="PNG of the slice of which the model is least sure")
    async def picture(request: Request, study: str, uncertainty: bool = False) -> Response:
        """``uncertainty`` lays the map over it. 202 with ``Retry-After``: not now."""
        try:
            content = page.picture(study, uncertainty)
        except BusyError as error:
            return JSONResponse({"detail": str(error)}, 202, {**PRIVATE, "Retry-After": str(error.retry_after)})
        return _fresh(request, content, _tag(content), "image/png")

    @router.get("/runs/{run}/{name}", summary="A training's report.html or report.json")
    async def report(run: str, name: str) -> Response:
        """See ``docs/how-to/read-a-report.md``."""
        return FileResponse(page.report(run, name), headers={**PRIVATE, "Content-Security-Policy": REPORT})

    @router.post("/versions/{version}/live", summary="Go back to a version of the model", dependencies=[admin])
    async def restore(version: str) -> dict[str, Any]:
        """It serves from now on; the next training goes on from it."""
        page.app.folder.restore(version)
        return {"version": version}

    return router


def _answer(request: Request, answer: Answer) -> Response:
    return _fresh(request, answer.content, answer.tag, "application/json")


def _fresh(request: Request, content: bytes, tag: str, kind: str) -> Response:
    """With a tag, and without the content where the browser has it (RFC 9110, 15.4.5)."""
    headers = FRESH | {"ETag": f'"{tag}"'}
    if f'"{tag}"' in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=kind, headers=headers)


def _tag(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
