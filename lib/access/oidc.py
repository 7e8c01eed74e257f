"""An identity provider (OpenID Connect, as Keycloak): its tokens verified, its users and passwords asked for there.

The issuer and the place of its keys come from its discovery document (OpenID Connect Discovery 1.0, 4). A token is an
RFC 7519 one, signed with one of these keys by an asymmetric algorithm, for this client, now.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any

import jwt
import requests
from jwt import PyJWKClient

from lib.access.people import Person, Role
from lib.errors import ConfigError, LoginServerError

logger = logging.getLogger(__name__)

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
LEEWAY = 30.0  # s by which the clocks of two machines may differ
KEYS_FOR = 300.0  # s; a key that is not known is asked for earlier, at most every REFETCH seconds
REFETCH = 30.0


class Realm:
    """The users of one realm of an identity provider.

    Args:
        url: of the realm, the issuer of its tokens.
        client: this server's name there. A token must be for it: among ``aud``, or as ``azp``.
        roles: name of a role in tokens -> role here.
        where: keys that lead to the list of roles in a token.
        name: key of the user's name in a token.
        timeout: s.

    Raises:
        ConfigError: no address of the web.
    """

    def __init__(
        self,
        url: str,
        client: str,
        roles: Mapping[str, Role],
        where: tuple[str, ...] = ("realm_access", "roles"),
        name: str = "preferred_username",
        timeout: float = 10.0,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"MONAI_LABEL_AUTH_REALM_URI = '{url}' is no address; it begins with https://")
        self.url, self.client, self.roles, self.where = url.rstrip("/"), client, roles, where
        self.name, self.timeout = name, timeout
        self._discovering = threading.Lock()
        self._found: dict[str, Any] | None = None
        self._keys: PyJWKClient | None = None

    def login(self, name: str, password: str) -> Person | None:
        """Ask the identity provider (RFC 6749, 4.3), and verify the token it answers with.

        Raises:
            LoginServerError: it does not answer, or not as OpenID Connect has it.
        """
        form = {"grant_type": "password", "client_id": self.client, "username": name, "password": password}
        answer = self._ask("POST", self._discovered()["token_endpoint"], form | {"scope": "openid"})
        if answer.status_code in (400, 401):
            return None
        try:
            answer.raise_for_status()
            token = answer.json()["access_token"]
        except (requests.RequestException, ValueError, LookupError, TypeError) as error:
            raise LoginServerError(self._complaint(error)) from error
        return self.verify(str(token))

    def remember(self, person: Person) -> dict[str, Any]:
        """The role: the identity provider is not asked again while a session lasts."""
        return {"role": person.role.title}

    def recall(self, name: str, noted: Mapping[str, Any]) -> Person | None:
        """The person as at the login."""
        role = Role.named(str(noted.get("role")))
        return Person(name, role) if role else None

    def verify(self, token: str) -> Person | None:
        """The person of an access token; None, with the reason in the log, if it is worth nothing or grants no role.

        Raises:
            LoginServerError: the keys cannot be had.
        """
        try:
            algorithm = jwt.get_unverified_header(token).get("alg")
            if algorithm not in ALGORITHMS:
                raise jwt.InvalidAlgorithmError(f"it is signed by {algorithm!r:.40}")
            claims = jwt.decode(
                token,
                self._key_of(token),
                algorithms=ALGORITHMS,
                issuer=self._discovered()["issuer"],
                leeway=LEEWAY,
                options={"require": ["exp", "iss"], "verify_aud": False},  # below, with azp
            )
            return self._person(claims)
        except (jwt.PyJWKClientConnectionError, ValueError) as error:
            raise LoginServerError(self._complaint(error)) from error
        except jwt.PyJWTError as error:
            logger.warning("A token was refused: %s", error)
            return None

    def _person(self, claims: Mapping[str, Any]) -> Person:
        audience = claims.get("aud", [])
        audience = [audience] if isinstance(audience, str) else audience
        if self.client not in [*audience, claims.get("azp")]:
            raise jwt.InvalidAudienceError(f"it is for {audience}, not for {self.client}")
        if claims.get("typ", "Bearer") != "Bearer":  # Keycloak signs ID tokens, which are no keys, alike
            raise jwt.InvalidTokenError("it is no access token")
        granted: Any = claims
        for key in self.where:
            granted = granted.get(key) if isinstance(granted, Mapping) else None
        held = [self.roles[role] for role in granted or [] if isinstance(role, str) and role in self.roles]
        name = claims.get(self.name)
        if not held or not isinstance(name, str) or not name.isprintable():
            raise jwt.InvalidTokenError(f"it grants none of the roles {', '.join(self.roles)}, or names nobody")
        return Person(name, max(held))

    def _key_of(self, token: str) -> jwt.PyJWK:
        if self._keys is None:
            address = self._discovered()["jwks_uri"]
            self._keys = PyJWKClient(address, lifespan=KEYS_FOR, timeout=self.timeout, cooldown_duration=REFETCH)
        return self._keys.get_signing_key_from_jwt(token)

    def _discovered(self) -> dict[str, Any]:
        with self._discovering:
            if self._found is None:
                answer = self._ask("GET", f"{self.url}/.well-known/openid-configuration")
                try:
                    answer.raise_for_status()
                    found = answer.json()
                    if found["issuer"].rstrip("/") != self.url:
                        raise ValueError(f"it is the issuer {found['issuer']!r:.100}")
                    if not all(str(found[key]).startswith("http") for key in ("jwks_uri", "token_endpoint")):
                        raise ValueError("its addresses are none")
                except (requests.RequestException, ValueError, LookupError, TypeError, AttributeError) as error:
                    raise LoginServerError(self._complaint(error)) from error
                self._found = found
            return self._found

    def _ask(self, method: str, url: str, form: Mapping[str, str] | None = None) -> requests.Response:
        try:
            return requests.request(method, url, data=form, timeout=self.timeout, allow_redirects=False)
        except requests.RequestException as error:
            raise LoginServerError(self._complaint(error)) from error

    def _complaint(self, error: Exception) -> str:
        reason = f"{type(error).__name__}: {error}"[:200]
        return f"The identity provider {self.url} cannot be used ({reason}); try again later"
