"""Access control around the whole app: which role may ask what, and how one logs in and out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from argon2 import PasswordHasher
from fastapi import FastAPI
from monailabel.config import settings
from starlette.testclient import TestClient

from lib.access import passwords
from lib.access.passwords import hash_password
from lib.access.people import Role
from lib.access.table import TABLE
from lib.access.users_file import User, changed_users
from lib.server.app import SemisegApp
from tests.access.provider import Provider, provider
from tests.server.whole_app import client, routes, whole_app

NAMES = {"ann": Role.READER, "ben": Role.READER, "rev": Role.REVIEWER, "boss": Role.ADMIN}
Serve = Callable[..., FastAPI]


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(1, 8, 1))
    passwords._nobodys.cache_clear()


def word(name: str) -> str:
    return f"{name} and a long word"


@pytest.fixture
def users(tmp_path: Path) -> Path:
    file = tmp_path / "users"
    with changed_users(file) as found:
        found |= {name: User(name, role, hash_password(word(name))) for name, role in NAMES.items()}
    return file


@pytest.fixture
def serve(app: SemisegApp, tmp_path: Path, studies: Path) -> Iterator[Serve]:
    """Serves the phantoms with these settings."""
    blocks = []

    def served(**changes: Any) -> FastAPI:
        app.config = app.config.replace(**changes)
        blocks.append(whole_app(app, str(tmp_path), str(studies)))
        return blocks[-1].__enter__()

    yield served
    for block in blocks:
        block.__exit__(None, None, None)


@pytest.fixture
def guarded(serve: Serve, users: Path) -> FastAPI:
    return serve(users=str(users))


@pytest.fixture
def as_user(guarded: FastAPI) -> Callable[[str], TestClient]:
    """A client that is logged in with a bearer token."""

    def logged_in(name: str) -> TestClient:
        form = {"username": name, "password": word(name), "grant_type": "password"}
        answer = client(guarded).post("/auth/token", data=form)
        assert answer.status_code == 200, answer.text
        return client(guarded, Authorization=f"{answer.json()['token_type']} {answer.json()['access_token']}")

    return logged_in


def put_label(asker: TestClient, study: str, studies: Path, **info: Any) -> int:
    image, file = nib.load(studies / f"{study}.nii.gz"), studies.parent / f"{study}.nii.gz"
    array = np.zeros(image.shape[:3], np.uint8)
    array[2:5, 2:5, 2:5] = 1
    nib.save(nib.Nifti1Image(array, image.affine), file)
    names = [{"name": "organ", "idx": 1}, {"name": "lesion", "idx": 2}]
    form = {"params": json.dumps({"label_info": names, "client_id": "user-slicer"} | info)}
    with file.open("rb") as label:
        answer = asker.put("/datastore/label", params={"image": study}, data=form, files={"label": (file.name, label)})
    return answer.status_code


def test_each_route_of_the_app_has_a_role(serve: Serve) -> None:
    there = {(method, path) for method, path in routes(serve()) if method not in ("HEAD", "OPTIONS")}
    there = {(method, re.sub("dicom/(wado|qido|stow)/", "dicom/", path)) for method, path in there}  # ours takes all
    known = {(entry.method, entry.path) for entry in TABLE}
    assert len(there) > 50
    assert there - known == set(), "give them a role in lib/access/table.py"
    assert known - there == set(), "these are gone"


def test_without_a_login_nothing_answers_but_the_way_in(guarded: FastAPI) -> None:
    nobody = client(guarded)
    for method, path in sorted(routes(guarded)):
        asked = re.sub(r"{\w+(:path)?}", "x", path)
        answer = nobody.request(method, asked)
        if path.startswith("/auth/") or path in ("/health", "/favicon.ico"):
            refused = path == "/auth/token/valid" or (method, path) == ("POST", "/auth/login")
            assert (answer.status_code == 401) == refused, (method, path)
        else:
            assert answer.status_code == 401, (method, path, answer.status_code)
            assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert nobody.get("/no/such/route").status_code == 401
    assert nobody.get("/health").json()["status"] == "ok"


@pytest.mark.parametrize(
    ("method", "path", "needed"),
    [
        ("GET", "/info/", Role.READER),
        ("GET", "/datastore/", Role.READER),
        ("GET", "/ohif/", Role.READER),
        ("GET", "/openapi.json", Role.READER),
        ("DELETE", "/datastore/label?id=none&tag=final", Role.REVIEWER),
        ("GET", "/datastore/dataset?limit_cases=1", Role.REVIEWER),
        ("DELETE", "/train/", Role.ADMIN),
        ("DELETE", "/datastore/image?id=none", Role.ADMIN),
        ("GET", "/model/info/semiseg", Role.ADMIN),
        ("GET", "/logs/?lines=1", Role.ADMIN),
        ("POST", "/reload", Role.ADMIN),
        ("POST", "/batch/infer/semiseg", Role.ADMIN),
    ],
)
def test_each_role_may_what_the_ones_before_it_may(
    as_user: Callable[[str], TestClient], method: str, path: str, needed: Role
) -> None:
    for name in ("ann", "rev", "boss"):
        answer = as_user(name).request(method, path)
        if NAMES[name] >= needed:
            assert answer.status_code not in (401, 403), (name, answer.text)
        else:
            assert answer.status_code == 403
            assert answer.json()["detail"].endswith(f"this is for the role {needed.title}")


def test_what_is_not_known_is_closed_to_all(as_user: Callable[[str], TestClient]) -> None:
    boss = as_user("boss")
    assert boss.get("/no/such/route").status_code == 404
    assert boss.patch("/info/").status_code == 404


def test_slicer_asks_whether_it_must_log_in_and_whether_its_token_holds(
    guarded: FastAPI, as_user: Callable[[str], TestClient]
) -> None:
    nobody = client(guarded)
    assert nobody.get("/auth/").json() == {"enabled": True}
    assert nobody.get("/auth/token/valid").status_code == 401
    assert as_user("ann").get("/auth/token/valid").json() == {"username": "ann", "roles": ["reader"]}
    for header in ("Bearer nonsense", "Basic YW5uOmFubg==", "Bearer", "Bearer  ", ""):
        assert client(guarded, Authorization=header).get("/info/").status_code == 401


def test_wrong_passwords_are_slowed_and_right_ones_too_then(guarded: FastAPI) -> None:
    asker = client(guarded)
    statuses = [asker.post("/auth/token", data={"username": "ann", "password": "x"}).status_code for _ in range(3)]
    assert statuses == [401] * 3
    late = asker.post("/auth/token", data={"username": "ann", "password": word("ann")})
    assert late.status_code == 429
    assert int(late.headers["Retry-After"]) >= 1
    assert "Too many failed logins" in late.json()["detail"]
    page = asker.post("/auth/login", data={"username": "ann", "password": word("ann")})
    assert page.status_code == 429
    assert "Too many failed logins" in page.text


def test_a_browser_is_led_to_the_page_and_back(guarded: FastAPI) -> None:
    browser = client(guarded, Accept="text/html,*/*")
    first = browser.get("/ohif/monai-label?StudyInstanceUIDs=1.2.3&a=b")
    assert first.status_code == 303
    page = first.headers["Location"]
    assert page.startswith("/auth/login?next=")
    assert "Log in" in browser.get(page).text
    failed = browser.post(page, data={"username": "ann", "password": "wrong"})
    assert failed.status_code == 401
    assert "The name or the password is wrong" in failed.text
    done = browser.post(page, data={"username": "ann", "password": word("ann")}, headers={"Origin": "http://127.0.0.1"})
    assert done.status_code == 303
    assert done.headers["Location"] == "/ohif/monai-label?StudyInstanceUIDs=1.2.3&a=b"
    cookie = done.headers["Set-Cookie"].lower()
    assert {"httponly", "samesite=lax", "path=/"} <= set(cookie.split("; "))
    assert "secure" not in cookie
    assert browser.get("/ohif/").status_code == 200
    assert "ann" in browser.get("/auth/login").text
    data = browser.get("/info/", headers={"Accept": "application/json"})
    assert data.status_code == 200
    old = dict(browser.cookies)
    assert browser.post("/auth/logout").headers["Location"] == "/auth/login"
    assert browser.get("/ohif/").status_code == 303
    for name, value in old.items():
        assert client(guarded, Cookie=f"{name}={value}").get("/info/").status_code == 401, "a copy has ended too"


def test_a_program_is_not_led_anywhere(guarded: FastAPI) -> None:
    for headers in ({"Accept": "application/dicom+json"}, {"Accept": "text/html", "Sec-Fetch-Mode": "cors"}):
        assert client(guarded, **headers).get("/proxy/dicom/studies").status_code == 401


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example/", "/\\evil.example", "%2F%2Fevil.example"])
def test_the_way_back_never_leads_elsewhere(guarded: FastAPI, target: str) -> None:
    form = {"username": "ann", "password": word("ann")}
    answer = client(guarded).post(f"/auth/login?next={target}", data=form)
    assert answer.status_code == 303
    assert answer.headers["Location"] == "/ohif/"


def test_behind_a_proxy_that_adds_a_path_all_stays_below_it(guarded: FastAPI) -> None:
    browser = client(guarded, Accept="text/html")
    browser._transport.root_path = "/seg"  # type: ignore[attr-defined]
    page = browser.get("/seg/ohif/?a=b").headers["Location"]
    assert page == "/seg/auth/login?next=%2Fseg%2Fohif%2F%3Fa%3Db"
    form = {"username": "ann", "password": word("ann")}
    assert browser.post(page, data=form).headers["Location"] == "/seg/ohif/?a=b"
    assert browser.get("/seg/info/").status_code == 200
    assert 'action="/seg/auth/logout"' in browser.get("/seg/auth/login").text
    assert browser.post("/seg/auth/login", data=form).headers["Location"] == "/seg/ohif/"


def test_over_https_the_cookie_is_for_https_only(guarded: FastAPI) -> None:
    answer = client(guarded, "https").post("/auth/login", data={"username": "ann", "password": word("ann")})
    assert "secure" in answer.headers["Set-Cookie"].lower().split("; ")


def test_the_page_stays_on_this_server(guarded: FastAPI) -> None:
    page = client(guarded).get("/auth/login")
    assert page.headers["Cache-Control"] == "no-store"
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers.get("Referrer-Policy") != "no-referrer", "Origin would be null, which is another site's"


def test_a_removed_user_is_out_at_once_and_a_new_password_ends_sessions(
    as_user: Callable[[str], TestClient], users: Path
) -> None:
    ann, ben = as_user("ann"), as_user("ben")
    with changed_users(users) as found:
        del found["ann"]
        found["ben"] = User("ben", Role.READER, hash_password("another password"))
    assert ann.get("/info/").status_code == ben.get("/info/").status_code == 401
    users.write_text("damaged")
    answer = ben.get("/info/")
    assert answer.status_code == 503
    assert str(users) not in answer.text


def test_a_label_is_its_readers_and_others_ask_a_reviewer(
    as_user: Callable[[str], TestClient], app: SemisegApp, studies: Path
) -> None:
    ann, ben, rev = as_user("ann"), as_user("ben"), as_user("rev")
    study, label = "phantom_003", {"label": "phantom_003", "tag": "final"}
    assert put_label(ann, study, studies, submitted_by="ben", user="ben") == 200
    info = ann.get("/datastore/label/info", params=label).json()
    assert {info[key] for key in ("submitted_by", "client_id", "user")} == {"ann"}, "whatever the request says"
    assert put_label(ann, study, studies) == 200
    assert put_label(ben, study, studies) == 403
    note = {"info": json.dumps({"note": "mine now", "submitted_by": "ben"})}
    assert ben.put("/datastore/label/info", params=label, data=note).status_code == 403
    assert ben.delete("/datastore/label", params={"id": study, "tag": "final"}).status_code == 403
    assert ann.put("/datastore/label/info", params=label, data=note).status_code == 200
    assert ann.get("/datastore/label/info", params=label).json()["submitted_by"] == "ann"
    assert put_label(ben, "phantom_000", studies) == 403, "nobody knows who submitted it"
    assert put_label(rev, study, studies) == 200
    assert put_label(ann, study, studies) == 403, "now it is the reviewer's"
    assert rev.delete("/datastore/label", params={"id": study, "tag": "final"}).status_code == 200
    told = [(entry["what"], entry["who"], entry["study"]) for entry in app.audit.entries() if "study" in entry]
    assert told == [
        ("label submitted", "ann", study),
        ("label changed", "ann", study),
        ("label info changed", "ann", study),
        ("label changed", "rev", study),
        ("label deleted", "rev", study),
    ]


def test_the_reader_of_the_worklist_is_who_is_logged_in(as_user: Callable[[str], TestClient]) -> None:
    ann, ben, rev = as_user("ann"), as_user("ben"), as_user("rev")
    found = ann.post("/activelearning/random", json={"client_id": "ben"}).json()
    assert [lease["client"] for lease in ann.get("/worklist/").json()] == ["ann"]
    release = f"/worklist/{found['id']}/lease?client_id=ann"
    assert ben.delete(release).json()["changed"] is False
    assert rev.delete(release).json()["changed"] is True
    ben.post(f"/worklist/{found['id']}/skip?client_id=ann")
    assert {ben.post("/activelearning/random", json={}).json()["id"] for _ in range(9)}.isdisjoint({found["id"]})


def test_the_audit_log_knows_what_was_done_to_the_server(
    as_user: Callable[[str], TestClient], app: SemisegApp, studies: Path
) -> None:
    boss = as_user("boss")
    image = (studies / "phantom_003.nii.gz").read_bytes()
    added = boss.put("/datastore/image", files={"file": ("added.nii.gz", image)})
    assert added.status_code == 200, added.text
    assert boss.delete("/datastore/image?id=added").status_code == 200
    boss.delete("/datastore/image?id=none")
    done = [(e["what"], e["who"], e.get("study")) for e in app.audit.entries() if e["from"] == "127.0.0.1"]
    assert done[-2:] == [("study added", "boss", "added"), ("study deleted", "boss", "added")]
    assert app.audit.entries()[0]["what"] == "server started"
    assert "boss (admin)" in app.audit.entries()[0]["users"]


def test_without_users_all_is_open_and_labels_are_still_told(serve: Serve, app: SemisegApp, studies: Path) -> None:
    asker = client(serve())
    assert asker.get("/auth/").json() == {"enabled": False}
    assert asker.get("/auth/token/valid").status_code == 200
    assert asker.post("/auth/token", data={"username": "a", "password": "b"}).status_code == 404
    assert asker.get("/auth/login").headers["Location"] == "/ohif/"
    assert asker.get("/info/").status_code == 200
    assert put_label(asker, "phantom_003", studies) == 200
    assert put_label(asker, "phantom_000", studies) == 200
    told = [(entry["what"], entry["who"], entry["study"]) for entry in app.audit.entries()]
    assert told == [("label submitted", "-", "phantom_003"), ("label changed", "-", "phantom_000")]


@pytest.fixture
def realm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    with provider() as found:
        monkeypatch.setattr(settings, "MONAI_LABEL_AUTH_ENABLE", True)
        monkeypatch.setattr(settings, "MONAI_LABEL_AUTH_REALM_URI", found.url)
        yield found


def test_tokens_of_a_realm_are_let_in_and_forged_ones_not(realm: Provider, serve: Serve) -> None:
    served = serve()
    assert client(served).get("/info/").status_code == 401

    def status(token: str, path: str = "/info/") -> int:
        return client(served, Authorization=f"Bearer {token}").get(path).status_code

    assert status(realm.token()) == 200, "MONAI Label's own check refuses every token"
    assert status(realm.token(), "/logs/") == 403
    assert status(realm.token(realm_access={"roles": ["monailabel-admin"]}), "/model/info/semiseg") not in (401, 403)
    assert status(realm.token(exp=1_000_000_000)) == 401
    assert status(realm.token(aud="x", azp="y")) == 401
    form = {"username": "ann", "password": "correct horse"}
    answer = client(served).post("/auth/token", data=form)
    assert status(answer.json()["access_token"]) == 200
    assert client(served).post("/auth/token", data=form | {"password": "wrong"}).status_code == 401
    realm.broken = True
    assert status(realm.token(kid="new")) == 401


def test_a_token_of_a_realm_is_no_cookie(realm: Provider, serve: Serve) -> None:
    served = serve()
    cookie = served.middleware_stack
    while not hasattr(cookie, "authenticator"):
        cookie = cookie.app
    assert (
        client(served, Cookie=f"{cookie.authenticator.sessions.cookie}={realm.token()}").get("/info/").status_code
        == 401
    )


@pytest.mark.parametrize("fault", ["missing", "open", "damaged", "both"])
def test_a_server_that_cannot_know_its_users_does_not_start(
    serve: Serve, users: Path, fault: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def leave(status: int) -> None:
        raise SystemExit(status)

    monkeypatch.setattr("lib.server.app.os._exit", leave)
    expected = {"missing": "does not exist", "open": "chmod 600", "damaged": "is damaged", "both": "take away one"}
    if fault == "missing":
        users.unlink()
    elif fault == "open":
        users.chmod(0o644)
    elif fault == "damaged":
        users.write_text("ann reader")
    else:
        monkeypatch.setattr(settings, "MONAI_LABEL_AUTH_ENABLE", True)
    with pytest.raises(SystemExit, match="2"):
        serve(users=str(users))
    assert expected[fault] in capsys.readouterr().err


def test_a_process_of_the_server_is_let_in(guarded: FastAPI, app: SemisegApp, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def post(url: str, json: Any, headers: dict[str, str], timeout: float) -> Any:
        asked.append(url)
        return client(guarded, **headers).get("/info/")

    monkeypatch.setattr("lib.server.authentication.requests.post", post)
    assert app._local_request("/scoring/uncertainty", None, "Scoring")
    assert asked == [f"http://127.0.0.1:{settings.MONAI_LABEL_SERVER_PORT}/scoring/uncertainty"]
