"""Who has which study open, and what a reader does not want to be offered: routes over the score store."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Depends, Query
from monailabel.config import settings
from monailabel.endpoints.user.auth import RBAC

from lib.errors import NotFoundError
from lib.selection.leases import Leases
from lib.selection.outlook import MORE, outlook
from lib.server.caller import holder, reader
from lib.server.cases import labelled_cases
from lib.server.routes import served_app
from lib.training.rounds import learning_curve

router = APIRouter(
    prefix="/worklist", tags=["ActiveLearning"], dependencies=[Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))]
)
Reader = Query(description="the reader, as in the requests for the next study")


@router.get("/", summary="The studies that are open with readers, the first to end first")
async def open_studies() -> list[dict[str, Any]]:
    """``study``, ``client`` and ``until`` (seconds since 1970) of each."""
    return [asdict(lease) for lease in _leases().open()]


@router.get("/outlook", summary="What the next labels would bring")
async def outlook_of_labels(more: int = Query(MORE, ge=1, le=100_000, description="labels")) -> dict[str, Any]:
    """``gain`` of Dice with ``low`` and ``high`` (null while there were too few trainings) and the ``reason`` in words;
    see :class:`lib.selection.outlook.Outlook`."""
    app = served_app()
    live = app.live.loaded()
    scores = app.scores.get(live.checksum) if live else {}
    labelled = {case.id for case in labelled_cases(app.datastore())}
    return asdict(outlook(learning_curve(app.folder), more, scores, labelled))


@router.post("/{study}/skip", summary="Never offer a study to this reader again")
async def skip(study: str, client_id: str = Reader) -> dict[str, Any]:
    """Other readers are offered it as before."""
    if study not in served_app().datastore().list_images():
        raise NotFoundError(f"There is no study '{study}' on this server")
    _leases().skip(study, reader(client_id))
    return {"study": study, "skipped": True}


@router.delete("/{study}/skip", summary="Offer a skipped study to this reader again")
async def unskip(study: str, client_id: str = Reader) -> dict[str, Any]:
    """``changed`` is false if it was not skipped."""
    return {"study": study, "skipped": False, "changed": _leases().unskip(study, reader(client_id))}


@router.delete("/{study}/lease", summary="Release a study, so that others are offered it")
async def release(study: str, client_id: str | None = None) -> dict[str, Any]:
    """Of this reader, or without ``client_id`` of whoever has it open; ``changed`` is false if nobody had."""
    return {"study": study, "changed": _leases().release(study, holder(client_id))}


def _leases() -> Leases:
    return served_app().scores.leases
