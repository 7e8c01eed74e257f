"""The body of a request, taken in whole before anything is done for it, within bounds of size and time.

A client that sends slowly, or for ever, so costs neither a thread nor an inference's place. The bytes are counted as
they come: a Content-Length may lie, and need not be there.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope

from lib.errors import SemisegError, TooLargeError
from lib.files import full_disk_said
from lib.server.strict_json import parse

PATIENCE, PACE = 30.0, 16_384  # a body of n bytes may take 30 s and another second for each 16 KiB
SMALL = 1 << 20  # bytes of a body without files, and of one that is kept in memory
CHUNK = 1 << 16
WITHOUT = ("GET", "HEAD", "DELETE")  # MONAI Label's client, with a token, announces a body with these and sends none
FILES = ("/datastore/image", "/datastore/label", "/datastore/", "/session/", "/proxy/dicom/", "/infer/")


class TooSlowError(SemisegError):
    """A body that did not come in time."""

    status = 408


@dataclass(frozen=True)
class Limits:
    """What a request may send.

    Attributes:
        upload: bytes of a body with files. models: whether a model is such a file, else it is refused without a look.
        patience: seconds. pace: bytes a second; see the constants.
    """

    upload: int
    models: bool = False
    patience: float = PATIENCE
    pace: float = PACE

    def size(self, scope: Scope) -> int:
        """The largest body of this request, bytes; 0: none is looked at, whatever is sent."""
        path = scope["path"]
        if path.startswith("/model/"):
            return self.upload if self.models else 0
        return self.upload if path.endswith(FILES) or any(part in path for part in FILES[-2:]) else SMALL

    def metered(self, scope: Scope, receive: Receive) -> Receive:
        """``receive``, which ends a body that becomes too large or too slow.

        Raises:
            TooLargeError, TooSlowError: on the way.
        """
        largest, taken, waited, ended = self.size(scope), 0, 0.0, False
        announced = Headers(scope=scope).get("content-length", "")

        async def call() -> Message:
            nonlocal taken, waited, ended
            if ended:
                return await receive()
            if announced.isdigit() and len(announced) < 20 and int(announced) > largest:
                raise _too_large(largest)
            allowed, start = self.patience + taken / self.pace, time.monotonic()
            try:
                message = await asyncio.wait_for(receive(), max(0.0, allowed - waited))
            except TimeoutError:
                sentence = f"The request was not sent in time: {taken} bytes in {allowed:.0f} seconds"
                raise TooSlowError(sentence) from None
            waited += time.monotonic() - start
            taken += len(message.get("body", b""))
            ended = not message.get("more_body", False)
            if taken > largest:
                raise _too_large(largest)
            return message

        return call


class Body:
    """A body that is here. Of JSON, only what is sound (see :mod:`lib.server.strict_json`)."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.ended = file, False

    def next(self) -> Message | None:
        """Its next piece as the message that an app expects; None after the last one."""
        if self.ended:
            return None
        piece = self.file.read(CHUNK)
        self.ended = len(piece) < CHUNK
        return {"type": "http.request", "body": piece, "more_body": not self.ended}


@contextmanager
def spool() -> Iterator[IO[bytes]]:
    """A file that goes to the disk when it becomes large, and is gone after the block."""
    with tempfile.SpooledTemporaryFile(max_size=SMALL) as file:
        yield file


async def take_in(scope: Scope, receive: Receive, limits: Limits, file: IO[bytes]) -> Body:
    """The body of this request, in ``file``.

    Raises:
        TooLargeError, TooSlowError, ConfigError: it is too large, too slow, or JSON that cannot be used.
        StorageFullError: there is no room for it on the disk.
        ClientDisconnect: the client has gone before its end.
    """
    more = limits.size(scope) > 0 and scope["method"] not in WITHOUT
    next_message = limits.metered(scope, receive)
    while more:
        message = await next_message()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        with full_disk_said("The upload was not taken"):
            file.write(message.get("body", b""))
        more = message.get("more_body", False)
    file.seek(0)
    kind = Headers(scope=scope).get("content-type", "").partition(";")[0].strip().lower()
    if kind.startswith("application/") and kind.endswith("json"):
        content = file.read()
        if content:
            parse(content, "The body of the request")
        file.seek(0)
    return Body(file)


def _too_large(largest: int) -> TooLargeError:
    unit, size = ("MB", 1e6) if largest < 1e9 else ("GB", 1e9)
    return TooLargeError(
        f"The request is larger than {largest / size:g} {unit}, the most that is taken in here"
        + ("" if largest == SMALL else "; --conf upload_gb raises it")
    )
