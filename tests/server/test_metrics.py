"""Requests are counted by the template of their route, whatever becomes of them, and no client adds labels."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from prometheus_client.parser import text_string_to_metric_families

from lib.server.bodies import Limits
from lib.server.metrics import Measured, Metrics
from lib.server.threads import Threaded


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def served(metrics: Metrics) -> Measured:
    server = FastAPI()

    @server.post("/infer/{model}")
    async def infer(model: str) -> dict[str, Any]:
        return {state: value(metrics, "semiseg_inferences", state=state) for state in ("running", "waiting")}

    @server.get("/busy/{study}")
    async def busy(study: str) -> JSONResponse:
        return JSONResponse({}, 503)

    @server.get("/bug")
    async def bug() -> None:
        raise ValueError("a bug")

    server.include_router(metrics.router())
    threads = Threaded(server, Limits(1 << 20))
    metrics.watch(threads.infer)
    return Measured(threads, metrics)


def ask(app: Measured, *requests: tuple[str, str]) -> list[httpx.Response]:
    async def all_of_them() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return [await client.request(method, path) for method, path in requests]

    return asyncio.run(all_of_them())


def value(metrics: Metrics, name: str, **labels: str) -> Any:
    return metrics.registry.get_sample_value(name, labels)


def test_requests_are_counted_by_route_and_status_never_by_path(metrics: Metrics) -> None:
    answers = ask(
        served(metrics),
        *[("GET", f"/busy/patient-{number}") for number in range(3)],
        ("GET", "/bug"),
        ("GET", "/secret/patient-7"),
        ("BREW", "/busy/1"),
        ("GET", "/metrics"),
        ("GET", "/metrics"),
    )
    count = "semiseg_requests_total"
    assert value(metrics, count, method="GET", route="/busy/{study}", status="503") == 3
    assert value(metrics, count, method="GET", route="/bug", status="500") == 1
    assert value(metrics, count, method="GET", route="other", status="404") == 1
    assert value(metrics, count, method="other", route="/busy/{study}", status="405") == 1
    assert value(metrics, "semiseg_request_seconds_count", method="GET", route="/busy/{study}") == 3
    assert value(metrics, "semiseg_request_seconds_sum", method="GET", route="/bug") > 0
    assert "patient" not in answers[-1].text


def test_an_answer_that_breaks_off_counts_as_a_failure(metrics: Metrics) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("before the first byte")

    with pytest.raises(RuntimeError):
        asyncio.run(Measured(broken, metrics)({"type": "http", "method": "GET", "path": "/infer/x"}, None, None))  # type: ignore[arg-type]
    assert value(metrics, "semiseg_requests_total", method="GET", route="other", status="500") == 1


def test_inferences_are_counted_while_they_last_and_timed_by_stage(metrics: Metrics) -> None:
    (answer,) = ask(served(metrics), ("POST", "/infer/semiseg"))
    assert answer.json() == {"running": 1, "waiting": 0}
    assert value(metrics, "semiseg_inferences", state="running") == 0
    assert value(metrics, "semiseg_inference_seconds_count", stage="queue") == 1
    metrics.inferred({"wait": 0.3, "network": 2.0})
    metrics.inferred({"wait": 0.2, "network": 1.0})
    assert value(metrics, "semiseg_inference_seconds_sum", stage="wait") == pytest.approx(0.5)
    assert value(metrics, "semiseg_inference_seconds_bucket", stage="wait", le="0.25") == 1
    assert value(metrics, "semiseg_inference_seconds_count", stage="network") == 2


def test_the_page_is_what_prometheus_reads(metrics: Metrics) -> None:
    _, page = ask(served(metrics), ("POST", "/infer/semiseg"), ("GET", "/metrics"))
    assert page.headers["content-type"].startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(page.text)}
    assert families["semiseg_requests"].type == "counter"
    assert families["semiseg_request_seconds"].type == "histogram"
    assert {"process_resident_memory_bytes", "process_open_fds"} <= families.keys()


def test_the_servers_start_and_end_are_no_requests(metrics: Metrics) -> None:
    passed: list[str] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        passed.append(scope["type"])

    asyncio.run(Measured(inner, metrics)({"type": "lifespan"}, None, None))  # type: ignore[arg-type]
    assert passed == ["lifespan"]
    assert not next(iter(metrics.requests.collect())).samples
