"""Every failure of a request as a status and ``{"detail": sentence}`` instead of a bare "Internal Server Error"."""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from monailabel.interfaces.exception import (
    ImageNotFoundException,
    LabelNotFoundException,
    MONAILabelError,
    MONAILabelException,
)
from starlette.types import Receive, Scope, Send

from lib.errors import SemisegError

logger = logging.getLogger(__name__)
# What went wrong lately, the newest last: seconds since 1970, sentence. Not what strangers and slow clients provoke.
recent: deque[tuple[float, str]] = deque(maxlen=20)
TOLD = (409, 422, 500, 502, 504, 507)

CLIENTS_FAULT = ("Neither Image nor File", "DICOM SEG format is not supported")  # in monailabel/endpoints/infer.py


def answer_in_sentences(app: FastAPI) -> None:
    """Register the handlers below. The app must build its middleware stack after that."""
    handlers: dict[type[Exception], Callable] = {
        SemisegError: _semiseg,
        MONAILabelException: _monailabel,
        HTTPException: _http,
        RequestValidationError: _validation,
        json.JSONDecodeError: _json,
        RecursionError: _recursion,
        Exception: _bug,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


async def _semiseg(request: Request, error: SemisegError) -> JSONResponse:
    answer = _answer(request, error.status, str(error))
    if hasattr(error, "retry_after"):
        answer.headers["Retry-After"] = str(error.retry_after)
    if error.status == 401:
        answer.headers["WWW-Authenticate"] = "Bearer"  # RFC 9110 11.6.1
    return answer


async def _monailabel(request: Request, error: MONAILabelException) -> JSONResponse:
    if isinstance(error, (ImageNotFoundException, LabelNotFoundException)):
        return _answer(request, 404, error.msg)
    return _answer(request, 400 if error.error == MONAILabelError.INVALID_INPUT else 500, error.msg)


async def _http(request: Request, error: HTTPException) -> JSONResponse:
    """MONAI Label answers 500 to some requests that the client has to change."""
    status = 400 if str(error.detail).startswith(CLIENTS_FAULT) else error.status_code
    return JSONResponse({"detail": error.detail}, status, error.headers)


async def _validation(request: Request, error: RequestValidationError) -> JSONResponse:
    """Missing or mistyped parameters, and bodies that are no JSON."""
    faults = error.errors()
    if any(fault["type"] == "json_invalid" for fault in faults):
        return _answer(request, 400, "The body of the request is not JSON")
    texts = [f"{' '.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in faults]
    return _answer(request, 422, f"The request does not fit: {'; '.join(texts)}")


async def _json(request: Request, error: json.JSONDecodeError) -> JSONResponse:
    """MONAI Label's endpoints read their ``params`` and ``info`` fields with ``json.loads``, unguarded."""
    return _answer(request, 400, f"A field of the request is not JSON ({error}); it begins with {error.doc[:40]!r}")


async def _recursion(request: Request, error: RecursionError) -> JSONResponse:
    """Deep nesting ends in Python's own limit, wherever it is walked through."""
    return _answer(request, 400, "A field of the request is nested too deeply")


async def _bug(request: Request, error: Exception) -> JSONResponse:
    """A fault of ours. Starlette raises the error again after this answer, so the server logs its traceback."""
    sentence = f"The server failed on this request ({type(error).__name__}: {error}); its log has the traceback"
    return _answer(request, 500, sentence)


async def refuse(
    scope: Scope, receive: Receive, send: Send, status: int, sentence: str, headers: Mapping[str, str] | None = None
) -> None:
    """Answer from an ASGI layer, where no handler of the app is asked. The connection of a slow client is closed."""
    closing = {"Connection": "close"} if status == 408 else {}
    answer = _answer(Request(scope), status, sentence)
    answer.headers.update({**(headers or {}), **closing})
    await answer(scope, receive, send)


def _answer(request: Request, status: int, sentence: str) -> JSONResponse:
    logger.log(
        logging.ERROR if status >= 500 else logging.WARNING,
        "%s %s -> %d: %s", request.method, request.url.path, status, sentence,
    )  # fmt: skip
    if status in TOLD:
        recent.append((time.time(), sentence))
    return JSONResponse({"detail": sentence}, status_code=status)
