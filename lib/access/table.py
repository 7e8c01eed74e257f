"""Which role each route asks for. What does not stand here is closed to everybody.

Paths are written as the routes have them (``{name}`` is one segment, ``{name:path}`` any number), without the prefix
that ``MONAI_LABEL_API_STR`` may set.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from starlette.routing import compile_path

from lib.access.people import Role

OPEN = None
READER, REVIEWER, ADMIN = Role.READER, Role.REVIEWER, Role.ADMIN


@dataclass(frozen=True)
class Entry:
    """A route; ``event`` is what the audit log says when a request of it has succeeded, if it says anything."""

    method: str
    path: str
    role: Role | None
    event: str = ""


TABLE = (
    # Everybody: whether one must log in, and logging in
    Entry("GET", "/auth/", OPEN),
    Entry("POST", "/auth/token", OPEN),
    Entry("GET", "/auth/token/valid", OPEN),
    Entry("GET", "/auth/login", OPEN),
    Entry("POST", "/auth/login", OPEN),
    Entry("POST", "/auth/logout", OPEN),
    Entry("GET", "/favicon.ico", OPEN),
    Entry("GET", "/health", OPEN),
    # The pages and the viewer
    Entry("GET", "/", READER),
    Entry("GET", "/docs", READER),
    Entry("GET", "/openapi.json", READER),
    Entry("GET", "/static/{path:path}", READER),
    Entry("GET", "/ohif/app-config.js", READER),
    Entry("GET", "/ohif/{path:path}", READER),
    Entry("GET", "/semiseg/", READER),
    Entry("GET", "/semiseg/static/{name}", READER),
    Entry("GET", "/semiseg/data/now", READER),
    Entry("GET", "/semiseg/data/model", READER),
    Entry("GET", "/semiseg/data/next", READER),
    Entry("GET", "/semiseg/data/labels", READER),
    Entry("GET", "/semiseg/data/budget", READER),
    Entry("GET", "/semiseg/picture/{study}", READER),
    Entry("GET", "/semiseg/runs/{run}/{name}", READER),
    Entry("POST", "/semiseg/versions/{version}/live", ADMIN, "model restored"),
    Entry("GET", "/proxy/dicom/{path:path}", READER),
    Entry("POST", "/proxy/dicom/{path:path}", READER, "DICOM object stored"),
    # What a reader's work is made of
    Entry("GET", "/info/", READER),
    Entry("GET", "/metrics", READER),
    Entry("POST", "/infer/{model}", READER),
    Entry("POST", "/infer/wsi/{model}", READER),
    Entry("POST", "/infer/wsi_v2/{model}", READER),
    Entry("POST", "/activelearning/{strategy}", READER),
    Entry("GET", "/worklist/", READER),
    Entry("GET", "/worklist/outlook", READER),
    Entry("POST", "/worklist/{study}/skip", READER),
    Entry("DELETE", "/worklist/{study}/skip", READER),
    Entry("DELETE", "/worklist/{study}/lease", READER),
    Entry("PUT", "/session/", READER),
    Entry("GET", "/session/{session_id}", READER),
    Entry("DELETE", "/session/{session_id}", READER),
    Entry("GET", "/datastore/", READER),
    Entry("GET", "/datastore/image", READER),
    Entry("GET", "/datastore/image/info", READER),
    Entry("PUT", "/datastore/image/info", READER),
    Entry("GET", "/datastore/label", READER),
    Entry("GET", "/datastore/label/info", READER),
    Entry("PUT", "/datastore/label", READER),  # one's own; see lib/server/signed_labels.py, also for the audit log
    Entry("PUT", "/datastore/label/info", READER),
    Entry("PUT", "/datastore/updatelabelinfo", READER),
    Entry("GET", "/train/", READER),
    Entry("GET", "/scoring/", READER),
    Entry("GET", "/batch/infer", READER),
    # The studies and labels of others
    Entry("PUT", "/datastore/", REVIEWER, "study added"),
    Entry("PUT", "/datastore/image", REVIEWER, "study added"),
    Entry("DELETE", "/datastore/label", REVIEWER),
    Entry("GET", "/datastore/dataset", REVIEWER, "labelled studies downloaded"),
    # The server
    Entry("DELETE", "/datastore/", ADMIN, "study deleted"),
    Entry("DELETE", "/datastore/image", ADMIN, "study deleted"),
    Entry("POST", "/train/", ADMIN, "training started"),
    Entry("POST", "/train/{model}", ADMIN, "training started"),
    Entry("DELETE", "/train/", ADMIN, "training stopped"),
    Entry("POST", "/scoring/", ADMIN, "scoring started"),
    Entry("POST", "/scoring/{method}", ADMIN, "scoring started"),
    Entry("DELETE", "/scoring/", ADMIN, "scoring stopped"),
    Entry("POST", "/batch/infer/{model}", ADMIN, "batch inference started"),
    Entry("DELETE", "/batch/infer", ADMIN, "batch inference stopped"),
    Entry("GET", "/model/{model}", ADMIN, "model downloaded"),
    Entry("GET", "/model/info/{model}", ADMIN),
    Entry("PUT", "/model/{model}", ADMIN, "model uploaded"),
    Entry("DELETE", "/model/{model}", ADMIN, "model deleted"),
    Entry("GET", "/logs/", ADMIN),
    Entry("GET", "/logs/gpu", ADMIN),
    Entry("POST", "/reload", ADMIN, "app reloaded"),
)
STUDY_KEYS = ("image", "label", "id", "study")  # what the parameters of these routes call the study


class Table:
    """Finds the entry of a request.

    Args:
        prefix: of all routes.
    """

    def __init__(self, prefix: str = "", entries: tuple[Entry, ...] = TABLE) -> None:
        self._entries = [(compile_path(_prefixed(prefix, entry.path))[0], entry) for entry in entries]

    def find(self, method: str, path: str) -> Entry | None:
        """The entry of a request; of several that fit, the one that asks for most. None: there is no such route.

        HEAD is as GET. A path that lacks its last slash, or has one too many, is as the right one, since the router
        redirects it there.
        """
        wanted = "GET" if method == "HEAD" else method
        other = path[:-1] if path.endswith("/") else f"{path}/"
        found = list(self._fitting(wanted, path)) or list(self._fitting(wanted, other))
        return max(found, key=lambda entry: entry.role or 0, default=None)

    def _fitting(self, method: str, path: str) -> Iterator[Entry]:
        return (entry for pattern, entry in self._entries if entry.method == method and pattern.match(path))


def _prefixed(prefix: str, path: str) -> str:
    outside = ("/", "/docs", "/openapi.json", "/static/{path:path}", "/favicon.ico", "/reload")
    return path if path in outside else prefix + path
