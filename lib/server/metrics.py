"""``/metrics`` in the text format of Prometheus: what is asked of this server, and how long it takes.

Labels have few values, so that no client can fill the memory: of a path the template of its route, of a method that
is none of HTTP's "other". No id, name or address is in them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from monailabel.config import settings
from monailabel.endpoints.user.auth import RBAC
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lib.server.limiter import Limiter

disable_created_metrics()  # when each series began: as many lines again, which nobody asks for

METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"}
OTHER = "other"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)  # bounds of the buckets


class Metrics:
    """The numbers of one server.

    Args:
        more: collectors that look at the project when they are asked.
    """

    def __init__(self, *more: Collector) -> None:
        self.registry = known = CollectorRegistry()
        self.requests = Counter(
            "semiseg_requests", "Requests answered, by route and status", ("method", "route", "status"), registry=known
        )
        self.seconds = Histogram(
            "semiseg_request_seconds",
            "From a request's first byte to its answer's last",
            ("method", "route"),
            buckets=SECONDS,
            registry=known,
        )
        self.inferences = Gauge(
            "semiseg_inferences", "Inferences asked for, by state: running or waiting", ("state",), registry=known
        )
        self.stages = Histogram(
            "semiseg_inference_seconds",
            "Stages of inferences; queue: for those before",
            ("stage",),
            buckets=SECONDS,
            registry=known,
        )
        ProcessCollector(registry=known)
        for collector in more:
            self.registry.register(collector)

    def watch(self, limiter: Limiter) -> None:
        """Tell how many inferences are at work and wait for one of its places, and how long they waited."""
        self.inferences.labels("running").set_function(lambda: limiter.busy)
        self.inferences.labels("waiting").set_function(lambda: len(limiter.queue))
        limiter.waited = self.stages.labels("queue").observe

    def inferred(self, latencies: Mapping[str, float]) -> None:
        """An inference ended: seconds by stage, as its answer has them."""
        for stage, seconds in latencies.items():
            self.stages.labels(stage).observe(seconds)

    def router(self) -> APIRouter:
        """The route, for whoever may see the server's logs."""
        router = APIRouter(tags=["Health"], dependencies=[Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))])

        @router.get("/metrics", summary="Numbers for Prometheus", response_class=Response)
        async def metrics() -> Response:
            """Explained in ``docs/reference/metrics.md``."""
            return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)

        return router


class Measured:
    """The outermost ASGI layer: counts and times each request, whatever becomes of it further in."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500  # of what ends without an answer

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            labels = _method(scope), _template(scope)
            self.metrics.requests.labels(*labels, status).inc()
            self.metrics.seconds.labels(*labels).observe(time.perf_counter() - start)


def _method(scope: Scope) -> str:
    return scope["method"] if scope["method"] in METHODS else OTHER


def _template(scope: Scope) -> str:
    """``/infer/{model}``; the router leaves its route in the scope, of what it does not know nothing."""
    return str(getattr(scope.get("route"), "path_format", OTHER))
