"""``/health``: can this server do its work? Cheap, without a login, and without a word about any study."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from monailabel.interfaces.datastore import Datastore

from lib.config import Config
from lib.errors import SemisegError
from lib.selection.store import ScoreStore
from lib.server.cases import OnDemand
from lib.server.live import LiveModel
from lib.training.model_folder import ModelFolder

LEAST_FREE = 1 << 29  # bytes; a checkpoint, a published model and a day's labels still fit


class Served(Protocol):
    """What monitoring needs of :class:`lib.server.app.SemisegApp`."""

    studies: str
    config: Config
    folder: ModelFolder
    live: LiveModel
    scores: ScoreStore

    def datastore(self) -> Datastore:
        """The studies."""


def checks(app: Served) -> dict[str, str]:
    """What was looked at -> what is wrong with it, in fixed sentences that name no study and no place; empty: nothing.

    A server without a model is well: it waits for the first labels.
    """
    return {
        "studies": _studies(app),
        "model": "" if not app.live.exists or app.live.loaded() else "the published model cannot be loaded",
        "store": _store(app.scores),
        "disk": _disk(app),
    }


def health_router(app: Served) -> APIRouter:
    """The route; anyone may ask it, as load balancers do."""
    router = APIRouter(tags=["Health"])

    @router.get("/health", summary="Whether the server can do its work", responses={503: {"description": "it cannot"}})
    async def health() -> JSONResponse:
        """200 with ``status: ok``, or 503 with ``status: failing`` and what is wrong by ``checks``."""
        found = checks(app)
        told = {name: cause or "ok" for name, cause in found.items()}
        if any(found.values()):
            return JSONResponse({"status": "failing", "checks": told}, 503)
        return JSONResponse({"status": "ok", "checks": told})

    return router


def folders(app: Served) -> dict[str, Path]:
    """The folders that grow: the project's own and, where they are no server, the studies."""
    return {"model": app.folder.path} | ({} if "://" in str(app.studies) else {"studies": Path(app.studies)})


def free_bytes(app: Served) -> dict[str, int]:
    """Free space by :func:`folders`, without those that cannot be asked."""
    return dict(_free(app))


def _free(app: Served) -> Iterator[tuple[str, int]]:
    for name, place in folders(app).items():
        try:
            yield name, shutil.disk_usage(place).free
        except OSError:
            continue


def _studies(app: Served) -> str:
    try:
        store = app.datastore()
        if isinstance(store, OnDemand):
            store.cases()  # which asks the server now and then
            return "the DICOM server does not answer or refuses the password" if store.trouble else ""
        folder = folders(app).get("studies")
        if folder is not None:
            with os.scandir(folder) as entries:
                next(entries, None)
    except (SemisegError, OSError):
        return "the studies cannot be listed"
    return ""


def _store(scores: ScoreStore) -> str:
    try:
        scores.database.run(lambda connection: connection.execute("SELECT 1 FROM leases LIMIT 1").fetchone())
    except SemisegError:
        return "the store of scores cannot be opened"
    return ""


def _disk(app: Served) -> str:
    free = free_bytes(app)
    full = sorted(name for name in folders(app) if free.get(name, 0) < LEAST_FREE)
    return f"less than {LEAST_FREE >> 20} MB are free for: {', '.join(full)}" if full else ""
