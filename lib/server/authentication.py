"""Who may log in at a server, as its settings have it: everybody, by a users file, or by an identity provider."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests
from monailabel.config import settings

from lib.access.audit import AuditLog
from lib.access.authenticator import Authenticator
from lib.access.oidc import Realm
from lib.access.people import Directory, Role
from lib.access.sessions import Sessions
from lib.access.throttle import Throttle
from lib.access.users_file import UsersFile
from lib.config import Config
from lib.errors import ConfigError


def is_guarded(config: Config) -> bool:
    """Whether one must log in."""
    return bool(config.users or settings.MONAI_LABEL_AUTH_ENABLE)


def sessions_of(config: Config, folder: Path) -> Sessions:
    """The sessions of the project in this model folder.

    Raises:
        ConfigError: their file is damaged, or others may read it.
    """
    return Sessions(folder / "sessions.json", config.session_hours)


def authenticator_of(config: Config, folder: Path, audit: AuditLog) -> Authenticator | None:
    """The authenticator of these settings; None: everybody may do everything.

    Args:
        folder: the model folder.

    Raises:
        ConfigError: the users file or the session key cannot be used, or there is both a users file and a realm.
    """
    if not is_guarded(config):
        return None
    if config.users and settings.MONAI_LABEL_AUTH_ENABLE:
        raise ConfigError("Users come from a file (--conf users) or a realm (MONAI_LABEL_AUTH_ENABLE); take away one")
    directory = _users_file(Path(config.users), audit) if config.users else _realm()
    return Authenticator(directory, sessions_of(config, folder), audit, Throttle())


def ask_own_server(config: Config, folder: Path, url: str, params: Mapping[str, Any]) -> requests.Response:
    """What one of the server's own processes asks it with a POST; it shows that it may read the session key.

    Raises:
        requests.RequestException: the server does not answer.
    """
    token = sessions_of(config, folder).own_token() if is_guarded(config) else ""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    place = f"http://127.0.0.1:{settings.MONAI_LABEL_SERVER_PORT}{settings.MONAI_LABEL_API_STR}{url}"
    return requests.post(place, json=dict(params), headers=headers, timeout=60)


def _users_file(file: Path, audit: AuditLog) -> Directory:
    found = UsersFile(file, lambda change: audit.write("user changed", origin="users file", change=change))
    there = ", ".join(f"{user.name} ({user.role.title})" for user in found.users().values())
    audit.write("server started", origin="users file", users=there)
    return found


def _realm() -> Directory:
    roles = {
        settings.MONAI_LABEL_AUTH_ROLE_USER: Role.READER,
        settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR: Role.READER,
        settings.MONAI_LABEL_AUTH_ROLE_REVIEWER: Role.REVIEWER,
        settings.MONAI_LABEL_AUTH_ROLE_ADMIN: Role.ADMIN,
    }
    return Realm(
        settings.MONAI_LABEL_AUTH_REALM_URI,
        settings.MONAI_LABEL_AUTH_CLIENT_ID,
        roles,
        tuple(settings.MONAI_LABEL_AUTH_TOKEN_ROLES.split("#")),
        settings.MONAI_LABEL_AUTH_TOKEN_USERNAME,
        settings.MONAI_LABEL_AUTH_TIMEOUT,
    )
