"""The parts of a multipart answer as files, while they arrive; an answer that breaks off is noticed.

dicomweb-client takes the end of the connection for the end of the message. Orthanc sends no length, so a series of
which the last half is missing would pass for whole there. A whole message ends with its closing delimiter (RFC 2046).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from email.message import Message


class Truncated(ConnectionError):
    """The message ended before its closing delimiter."""


def boundary_of(content_type: str) -> bytes:
    """The boundary that a Content-Type header names.

    Raises:
        ValueError: it is not a multipart type.
    """
    header = Message()
    header["content-type"] = content_type
    boundary = header.get_param("boundary")
    if header.get_content_maintype() != "multipart" or not isinstance(boundary, str):
        raise ValueError(f"'{content_type[:80]}' instead of multipart/related")
    return boundary.encode("latin-1")


def parts(chunks: Iterable[bytes], boundary: bytes) -> Iterator[bytes]:
    """The contents of the parts, without their headers.

    Args:
        chunks: the body, in pieces of any size.

    Raises:
        Truncated: the body ends early.
    """
    delimiter = b"\r\n--" + boundary
    data = bytearray(b"\r\n")  # the first delimiter may stand at the very start
    searched, preamble = 0, True
    for chunk in chunks:
        data += chunk
        while (end := data.find(delimiter, searched)) >= 0:
            if len(data) < end + len(delimiter) + 2:
                break  # whether it is the closing one is still to come
            if not preamble:
                yield _content(data[:end])
            preamble = False
            if data[end + len(delimiter) :].startswith(b"--"):
                return
            del data[: end + len(delimiter)]
            searched = 0
        searched = max(0, len(data) - len(delimiter) - 2)
    raise Truncated("the answer broke off")


def _content(part: bytearray) -> bytes:
    start = part.find(b"\r\n\r\n")
    if start < 0:
        raise ValueError("a part of the answer has no end of its headers")
    return bytes(memoryview(part)[start + 4 :])
