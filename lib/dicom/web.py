"""A DICOMweb server: what is there (QIDO-RS), its objects (WADO-RS) and storing (STOW-RS), DICOM PS3.18.

Every failure is a :class:`lib.errors.DicomServerError` with a sentence. Nothing here names a patient.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import requests
from dicomweb_client import DICOMwebClient
from pydicom.dataset import Dataset
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ProtocolError

from lib.dicom.multipart import Truncated, boundary_of, parts
from lib.errors import DicomServerError

CONNECT, READ = 3.05, 60.0  # seconds until a server that does not answer counts as away
CONNECTIONS = 16  # kept open; more than any of our pools of threads has
CHUNK = 1 << 20  # bytes
PASSWORD = "set MONAI_LABEL_DICOMWEB_USERNAME and MONAI_LABEL_DICOMWEB_PASSWORD to those of a user of that server"
# attributes of a series beside those that every server returns (PS3.18 table 10.6.3-4); of label objects what they
# refer to and their classes, which few servers return
FRAME, OF_LABELS = "FrameOfReferenceUID", ("ReferencedSeriesSequence", "SegmentSequence", "ContentDate", "ContentTime")


@dataclass(frozen=True)
class Answer:
    """Of a query: data sets, one a match, and the mark that tells whether another answer would differ."""

    found: list[Dataset] = field(default_factory=list)
    etag: str = ""
    unchanged: bool = False


class DicomWeb:
    """One DICOMweb server. May be used by several threads.

    Args:
        url: of the service, such as ``http://127.0.0.1:8042/dicom-web``.
        user, password: for HTTP basic authentication; empty for none.
    """

    def __init__(self, url: str, user: str = "", password: str = "") -> None:
        address = urlsplit(url.rstrip("/"))
        self.url = urlunsplit(address._replace(netloc=address.netloc.rpartition("@")[2]))  # it stands in sentences
        self._user = (user or address.username or "", password or address.password or "")
        self._sessions: dict[int, requests.Session] = {}

    @property
    def session(self) -> requests.Session:
        """The open connections of this process: workers of a training are forked, and must not share its sockets."""
        if os.getpid() not in self._sessions:
            session = requests.Session()
            session.auth = self._user if any(self._user) else None
            for scheme in ("http://", "https://"):
                session.mount(scheme, _Adapter(pool_connections=CONNECTIONS, pool_maxsize=CONNECTIONS))
            self._sessions[os.getpid()] = session
        return self._sessions[os.getpid()]

    @property
    def _client(self) -> DICOMwebClient:
        client = DICOMwebClient(self.url, self.session)
        client.set_http_retry_params(retry=False)  # a client waits for the answer, and asks again itself
        return client

    def series(self, etag: str = "", include: Sequence[str] = (), **matching: str) -> Answer:
        """The series that match, such as ``Modality="CT,MR"``.

        Args:
            etag: of an earlier answer; a server that knows it says ``unchanged`` instead of listing again.
            include: keywords of attributes to return too; a server may leave them out.

        Raises:
            DicomServerError: no answer, or none that can be understood.
        """
        query: dict[str, Any] = dict(matching)
        if include:
            query["includefield"] = list(include)
        found: dict[str, Dataset] = {}
        headers = {"Accept": "application/dicom+json"} | ({"If-None-Match": etag} if etag else {})
        while True:
            page = query | ({"offset": len(found)} if found else {})
            with self.sentences("list its series"):
                answer = self.session.get(f"{self.url}/series", params=page, headers=headers)
                if answer.status_code == requests.codes.not_modified:
                    return Answer(etag=etag, unchanged=True)
                answer.raise_for_status()
                rows = [Dataset.from_json(row) for row in (answer.json() if answer.content else [])]
                new = {str(row.SeriesInstanceUID): row for row in rows}
            more = bool(new.keys() - found.keys()) and answer.headers.get("Warning", "").startswith("299")
            found |= new
            if not more:
                return Answer(list(found.values()), answer.headers.get("ETag", ""))

    def headers(self, study: str, series: str) -> list[Dataset]:
        """The attributes of all instances of a series, without pixels and other large values.

        Raises:
            DicomServerError: as above, also if the series is not there.
        """
        with self.sentences(f"tell about series {series}"):
            rows = self._client.retrieve_series_metadata(study, series)
            return [Dataset.from_json(row, lambda *_: b"") for row in rows]

    def download(self, study: str, series: str, folder: Path) -> list[Path]:
        """All instances of a series as DICOM files in ``folder``, in the transfer syntax they are stored in.

        Raises:
            DicomServerError: as above, also if the answer breaks off; files may lie in the folder then.
        """
        accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        address = f"{self.url}/studies/{study}/series/{series}"
        files: list[Path] = []
        with (
            self.sentences(f"send series {series}"),
            closing(self.session.get(address, headers={"Accept": accept}, stream=True)) as answer,
        ):
            answer.raise_for_status()
            boundary = boundary_of(answer.headers.get("Content-Type", ""))
            for content in parts(answer.iter_content(CHUNK), boundary):
                files.append(folder / f"{len(files) + 1:05d}.dcm")
                files[-1].write_bytes(content)
        return files

    def store(self, dataset: Dataset) -> None:
        """Store an instance. Storing the same one again changes nothing on the server.

        Raises:
            DicomServerError: it was not stored, or nobody knows.
        """
        with self.sentences("store a label"):
            answer = self._client.store_instances([dataset])
            for failed in answer.get("FailedSOPSequence") or []:
                raise ValueError(f"failure reason {int(failed.get('FailureReason', 0)):#06x} (PS3.18 table I.2-2)")

    @contextmanager
    def sentences(self, what: str) -> Iterator[None]:
        """Failures in the block as sentences that say what the server did not do."""
        name = f"The DICOM server at {self.url}"
        try:
            yield
        except requests.HTTPError as error:
            code = error.response.status_code if error.response is not None else 0
            if code in (401, 403):
                raise DicomServerError(f"{name} refuses the user or the password; {PASSWORD}") from error
            raise DicomServerError(f"{name} did not {what} (HTTP status {code})") from error
        except (Truncated, requests.exceptions.ChunkedEncodingError) as error:
            raise DicomServerError(f"{name} broke off; it did not {what} to the end") from error
        except requests.exceptions.JSONDecodeError as error:
            cause = "its answer is not DICOM JSON; is this its DICOMweb address?"
            raise DicomServerError(f"{name} did not {what}: {cause}") from error
        except requests.RequestException as error:
            cause = type(error).__name__
            raise DicomServerError(
                f"{name} does not answer ({cause}); is it running, and is the address right?"
            ) from error
        except (ValueError, KeyError, AttributeError, TypeError) as error:  # what is no DICOMweb answer, read as one
            raise DicomServerError(f"{name} did not {what} ({type(error).__name__}: {error})") from error


def is_away(error: DicomServerError) -> bool:
    """Did the server not answer this question with a refusal, but not at all, so that others would fail as well?"""
    return not isinstance(error.__cause__, requests.HTTPError)


class _Adapter(HTTPAdapter):
    """Requests that end, since dicomweb-client gives none of its requests a time limit, and questions asked again where
    the connection did: a server may close a kept one in the very moment it is used. What only asks may be sent twice,
    what stores may not (RFC 9110 9.2.2)."""

    def send(self, request: Any, *args: Any, **kwargs: Any) -> requests.Response:
        kwargs["timeout"] = kwargs.get("timeout") or (CONNECT, READ)
        try:
            return super().send(request, *args, **kwargs)
        except requests.ConnectionError as error:
            broken_off = bool(error.args) and isinstance(error.args[0], ProtocolError)
            if request.method != "GET" or not broken_off:
                raise
            return super().send(request, *args, **kwargs)
