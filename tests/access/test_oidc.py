"""Tokens of an identity provider: the right ones are let in, each kind of forged or borrowed one is not."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator

import jwt
import pytest

from lib.access import oidc
from lib.access.oidc import Realm
from lib.access.people import Person, Role
from lib.errors import ConfigError, LoginServerError
from tests.access.provider import CLIENT, ROLES, Provider, provider

ANN = Person("ann", Role.READER)


@pytest.fixture(scope="module")
def running() -> Iterator[Provider]:
    with provider() as found:
        yield found


@pytest.fixture
def issuer(running: Provider) -> Iterator[Provider]:
    running.asked.clear()
    yield running
    running.published, running.broken = ["first"], False


@pytest.fixture
def realm(issuer: Provider) -> Realm:
    return Realm(issuer.url, CLIENT, {name: Role[role.upper()] for name, role in ROLES.items()}, timeout=5)


def test_a_right_token_is_its_person_with_the_highest_role_it_grants(issuer: Provider, realm: Realm) -> None:
    assert realm.verify(issuer.token()) == ANN
    both = {"roles": ["monailabel-user", "monailabel-admin"]}
    assert realm.verify(issuer.token(realm_access=both)) == Person("ann", Role.ADMIN)
    assert realm.verify(issuer.token(azp="other", aud=["x", CLIENT])) == ANN
    now = time.time()
    assert realm.verify(issuer.token(exp=now - 10, nbf=now + 10)) == ANN, "two clocks never agree"
    assert issuer.asked == ["openid-configuration", "certs"], "the keys are kept"


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://evil.example/realms/hospital"},
        {"iss": None},
        {"aud": "account", "azp": "another-app"},
        {"aud": None, "azp": None},
        {"aud": f"{CLIENT}2", "azp": ""},
        {"exp": 1_000_000_000},
        {"exp": time.time() - 120},
        {"exp": None},
        {"nbf": time.time() + 3600},
        {"typ": "ID"},
        {"realm_access": {"roles": ["offline_access"]}},
        {"realm_access": {"roles": []}},
        {"realm_access": None},
        {"realm_access": ["monailabel-admin"]},
        {"preferred_username": None},
        {"preferred_username": "a\nb"},
    ],
)
def test_a_token_that_is_not_for_here_and_now_is_worth_nothing(
    issuer: Provider, realm: Realm, changes: dict[str, object]
) -> None:
    assert realm.verify(issuer.token(**changes)) is None


def test_forged_signatures_are_worth_nothing(issuer: Provider, realm: Realm) -> None:
    claims, head = issuer.claims(), {"kid": "first"}
    with provider() as stranger:
        own = jwt.encode(claims, stranger.keys["first"], "RS256", head)
        its_keys = {**head, "jku": stranger.discovery()["jwks_uri"]}
        elsewhere = jwt.encode(claims, stranger.keys["first"], "RS256", its_keys)
    body = issuer.token().rsplit(".", 1)[0]
    with_public_key = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    signed = jwt.encode(claims, "x" * 32, "HS256", head).rsplit(".", 1)[0]
    mac = base64.urlsafe_b64encode(with_public_key.sign(signed.encode(), issuer.public_pem())).rstrip(b"=").decode()
    forged = {
        "by nobody": jwt.encode(claims, "", "none", head),
        "by the public key": f"{signed}.{mac}",
        "by a stranger": own,
        "by a key of the token's choice": elsewhere,
        "cut off": f"{body}.",
        "of another": f"{body}.{issuer.token(preferred_username='eve').rsplit('.', 1)[1]}",
        "without a key's name": jwt.encode(claims, issuer.keys["first"], "RS256"),
        "nonsense": "a.b.c",
        "nothing": "",
    }
    assert [how for how, token in forged.items() if realm.verify(token)] == []


def test_unknown_keys_are_asked_for_now_and_then_only(
    issuer: Provider, realm: Realm, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert realm.verify(issuer.token()) == ANN
    for _ in range(20):
        assert realm.verify(issuer.token(kid="unknown")) is None
    assert issuer.asked.count("certs") == 1, "somebody who sends nonsense must not have the provider asked"
    issuer.keys["second"], issuer.published = issuer.keys["first"], ["first", "second"]
    assert realm._keys
    realm._keys._last_successful_fetch = time.monotonic() - oidc.REFETCH - 1  # half a minute later
    assert realm.verify(issuer.token(key="second")) == ANN, "a new key is found"
    assert issuer.asked.count("certs") == 2


def test_names_and_passwords_are_asked_for_at_the_provider(issuer: Provider, realm: Realm) -> None:
    assert realm.login("ann", "correct horse") == ANN
    assert realm.login("ann", "wrong") is None
    assert realm.recall("ann", realm.remember(ANN)) == ANN
    assert realm.recall("ann", {}) is None


def test_a_provider_that_cannot_be_used_lets_nobody_in(issuer: Provider, realm: Realm) -> None:
    issuer.broken = True
    for ask in (lambda: realm.verify(issuer.token()), lambda: realm.login("ann", "correct horse")):
        with pytest.raises(LoginServerError, match=r"cannot be used .* try again later"):
            ask()
    with pytest.raises(LoginServerError):
        Realm("http://127.0.0.1:1/realms/x", CLIENT, {}, timeout=1).login("ann", "correct horse")
    issuer.broken = False
    assert realm.verify(issuer.token()) == ANN, "and again when it can"
    with pytest.raises(LoginServerError, match="is the issuer"):
        Realm(issuer.url.replace("hospital", "clinic"), CLIENT, {}).verify(issuer.token())
    with pytest.raises(ConfigError, match="is no address"):
        Realm("file:///etc/passwd", CLIENT, {})
