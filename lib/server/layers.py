"""What is put around MONAI Label's FastAPI app: routes in the place of its own, and layers that every request passes.

From the outside in: count and time it, look where it comes from, ask who is there, give it a thread, say whose it is.
"""

from __future__ import annotations

from typing import Protocol

from fastapi import FastAPI
from monailabel.config import settings
from monailabel.endpoints.user.auth import get_current_user

from lib.server import viewer, worklist
from lib.server.access import Access
from lib.server.auth_routes import auth_router
from lib.server.authentication import authenticator_of
from lib.server.caller import Known, monailabel_user
from lib.server.failures import answer_in_sentences
from lib.server.guard import close_cors, guarded
from lib.server.health import health_router
from lib.server.metrics import Measured, Metrics
from lib.server.page import Paged, ProjectPage
from lib.server.page_routes import page_router
from lib.server.proxy import proxy_router, proxy_to
from lib.server.restricted_routes import router as closed_routes
from lib.server.routes import put_in_place
from lib.server.threads import threaded
from lib.server.transfers import router as transfer_routes


class Surrounded(Paged, Protocol):
    """What the layers need of :class:`lib.server.app.SemisegApp`."""

    metrics: Metrics


def surround(app: FastAPI, ours: Surrounded) -> None:
    """Put routes and layers in place; the server is about to answer.

    Raises:
        ConfigError: it cannot be known who may come in.
    """
    prefix, authenticator = settings.MONAI_LABEL_API_STR, authenticator_of(ours.config, ours.folder.path, ours.audit)
    page = ProjectPage(ours)
    plain = (
        page_router(page),
        auth_router(authenticator, prefix),
        health_router(ours),
        ours.metrics.router(),
        viewer.router,
        worklist.router,
    )
    put_in_place(app, *plain, transfer_routes, closed_routes, proxy_router(proxy_to(ours.studies)))
    answer_in_sentences(app)
    close_cors(app)
    app.dependency_overrides[get_current_user] = monailabel_user
    threads = threaded(Known(app.build_middleware_stack()), ours.config)
    ours.metrics.watch(threads.infer)
    page.inferences = threads.infer
    ours.live.crowded = lambda: bool(threads.infer.queue)
    inner = Access(threads, authenticator, ours.audit, prefix)
    app.middleware_stack = Measured(guarded(inner, ours.config), ours.metrics)
