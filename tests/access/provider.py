"""An identity provider on a loopback port: discovery, keys and a token endpoint, and tokens of every kind."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

CLIENT = "monailabel-app"
ROLES = {"monailabel-user": "reader", "monailabel-reviewer": "reviewer", "monailabel-admin": "admin"}


class Provider(ThreadingHTTPServer):
    """One realm; ``asked`` are the paths of all requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/realms/hospital"
        self.keys = {"first": rsa.generate_private_key(public_exponent=65537, key_size=2048)}
        self.published = ["first"]
        self.asked: list[str] = []
        self.broken = False

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Of a right token; a change to None leaves a claim out."""
        now = time.time()
        right = {
            "iss": self.url, "aud": "account", "azp": CLIENT, "exp": now + 60, "iat": now, "nbf": now, "typ": "Bearer",
            "preferred_username": "ann", "realm_access": {"roles": ["monailabel-user", "offline_access"]},
        }  # fmt: skip
        return {key: value for key, value in {**right, **changes}.items() if value is not None}

    def token(self, key: str = "first", kid: str | None = None, **changes: Any) -> str:
        """Signed with this key, as the realm does."""
        return jwt.encode(self.claims(**changes), self.keys[key], "RS256", {"kid": kid or key})

    def public_pem(self) -> bytes:
        """The public key as text, which everybody may read."""
        kind = serialization.PublicFormat.SubjectPublicKeyInfo
        return self.keys["first"].public_key().public_bytes(serialization.Encoding.PEM, kind)

    def discovery(self) -> dict[str, Any]:
        base = f"{self.url}/protocol/openid-connect"
        return {"issuer": self.url, "jwks_uri": f"{base}/certs", "token_endpoint": f"{base}/token"}

    def key_set(self) -> dict[str, Any]:
        as_jwk = jwt.algorithms.RSAAlgorithm.to_jwk
        keys = {name: json.loads(as_jwk(self.keys[name].public_key())) for name in self.published}
        return {"keys": [{**key, "kid": name, "use": "sig", "alg": "RS256"} for name, key in keys.items()]}


class _Handler(BaseHTTPRequestHandler):
    server: Provider

    def do_GET(self) -> None:
        provider = self.server
        provider.asked.append(self.path.rsplit("/", 1)[-1])
        if provider.broken:
            self.answer(500, {})
        elif self.path.endswith("openid-configuration"):
            self.answer(200, provider.discovery())
        else:
            self.answer(200, provider.key_set())

    def do_POST(self) -> None:
        self.server.asked.append("token")
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        right = form["username"] == ["ann"] and form["password"] == ["correct horse"] and form["client_id"] == [CLIENT]
        token = {"access_token": self.server.token(), "token_type": "Bearer"}
        self.answer(200 if right else 401, token if right else {"error": "invalid_grant"})

    def answer(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def provider() -> Iterator[Provider]:
    """Runs for the length of the block."""
    with Provider() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
