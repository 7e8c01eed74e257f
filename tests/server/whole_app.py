"""The whole app as it is served, layers and all of MONAI Label's routes included, without a port."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import monailabel.interfaces.utils.app as instances
import pytest
from fastapi import FastAPI
from monailabel.config import settings
from monailabel.interfaces.app import MONAILabelApp
from starlette.testclient import TestClient

from lib.server.app import SemisegApp


@contextmanager
def whole_app(app: SemisegApp, folder: str, studies: str) -> Iterator[FastAPI]:
    """MONAI Label's FastAPI app over this one; it is as before after the block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "MONAI_LABEL_APP_DIR", folder)
        patch.setattr(settings, "MONAI_LABEL_STUDIES", studies)
        patch.setattr(MONAILabelApp, "on_init_complete", lambda self: None)  # its timers outlive a test
        from monailabel.app import app as served

        patch.setitem(instances.apps, f"{folder}{studies}", app)
        patch.setattr(served.router, "routes", [*served.router.routes])
        patch.setattr(served, "user_middleware", [*served.user_middleware])
        patch.setattr(served, "exception_handlers", {**served.exception_handlers})
        patch.setattr(served, "dependency_overrides", {})
        patch.setattr(served, "middleware_stack", None)
        patch.setattr(served, "openapi_schema", None)
        app.server_mode(True)
        app.on_init_complete()
        yield served


def client(served: FastAPI, scheme: str = "http", **headers: str) -> TestClient:
    """A client on this machine; ``headers`` go with each request."""
    where = {"base_url": f"{scheme}://127.0.0.1", "client": ("127.0.0.1", 50000)}
    return TestClient(served, headers=headers, follow_redirects=False, raise_server_exceptions=False, **where)


def routes(served: FastAPI) -> set[tuple[str, str]]:
    """Method and path of all routes, the hidden ones and mounted folders included."""
    return set(_walk(served.router.routes, ""))


def _walk(found: list[Any], prefix: str) -> Iterator[tuple[str, str]]:
    for route in found:
        if hasattr(route, "original_router"):  # FastAPI keeps the routers that were included
            yield from _walk(route.original_router.routes, prefix + route.include_context.prefix)
        elif hasattr(route, "methods"):
            yield from ((method, prefix + route.path) for method in route.methods or ())
        else:
            yield "GET", f"{prefix}{route.path}/{{path:path}}"
