"""``/auth``: log in and out. 3D Slicer asks for a token, browsers get a page and a cookie."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from fastapi.security import OAuth2PasswordRequestForm

from lib.access.authenticator import ENDED, Authenticator
from lib.access.login_page import POLICY, inside, known_page, login_form
from lib.errors import LoginError, LoginServerError, NotFoundError, TooOftenError
from lib.server.access import bearer
from lib.server.caller import caller

PRIVATE = {"Cache-Control": "no-store"}
PAGE = PRIVATE | {"Content-Security-Policy": POLICY}


def auth_router(authenticator: Authenticator | None, prefix: str = "") -> APIRouter:
    """The routes, for a server with this authenticator; None: it has no users.

    Args:
        prefix: of all routes, for the addresses in the pages.
    """
    router = APIRouter(prefix="/auth", tags=["Auth"])

    def start(request: Request) -> str:
        """Where somebody goes who came to log in."""
        return f"{request.scope.get('root_path', '')}{prefix}/ohif/"

    @router.get("/", summary="Whether one must log in; 3D Slicer asks it before every call")
    async def enabled() -> dict[str, Any]:
        return {"enabled": authenticator is not None}

    @router.post("/token", summary="Log in: a bearer token for a name and a password (RFC 6749, 4.3)")
    async def token(request: Request, form: Annotated[OAuth2PasswordRequestForm, Depends()]) -> JSONResponse:
        if authenticator is None:
            raise NotFoundError("This server has no users: it answers without a token")
        made = authenticator.log_in(form.username, form.password, caller().address)
        answer = {"access_token": made, "token_type": "bearer", "expires_in": int(authenticator.sessions.seconds)}
        return JSONResponse(answer, headers=PRIVATE)

    @router.get("/token/valid", summary="Who is logged in, by this token or cookie")
    async def valid() -> dict[str, Any]:
        person = caller().person
        if authenticator and person is None:
            raise LoginError(ENDED)
        return {"username": person.name, "roles": [person.role.title]} if person else {"username": None, "roles": []}

    @router.get("/login", include_in_schema=False)
    async def page(request: Request, next: str | None = None) -> Response:
        target, person = inside(next, start(request)), caller().person
        if authenticator is None:
            return RedirectResponse(target, 303)
        if person is None:
            return HTMLResponse(login_form(), headers=PAGE)
        logout = f"{request.scope.get('root_path', '')}{prefix}/auth/logout"
        return HTMLResponse(known_page(person.name, person.role.title, target, logout), headers=PAGE)

    @router.post("/login", include_in_schema=False)
    async def log_in(
        request: Request,
        username: Annotated[str, Form()] = "",
        password: Annotated[str, Form()] = "",
        next: str | None = None,
    ) -> Response:
        target = inside(next, start(request))
        if authenticator is None:
            return RedirectResponse(target, 303)
        try:
            made = authenticator.log_in(username, password, caller().address)
        except (LoginError, LoginServerError, TooOftenError) as error:
            later = {"Retry-After": str(error.retry_after)} if isinstance(error, TooOftenError) else {}
            return HTMLResponse(login_form(str(error)), error.status, PAGE | later)
        answer = RedirectResponse(target, 303, PRIVATE)
        secure = request.scope["scheme"] == "https"
        answer.set_cookie(
            authenticator.sessions.cookie,
            made,
            int(authenticator.sessions.seconds),
            httponly=True,
            samesite="lax",
            secure=secure,
        )
        return answer

    @router.post("/logout", summary="End the session of this token or cookie")
    async def log_out(request: Request) -> Response:
        answer = RedirectResponse(f"{request.scope.get('root_path', '')}{prefix}/auth/login", 303, PRIVATE)
        if authenticator:
            authenticator.log_out(
                bearer(request) or request.cookies.get(authenticator.sessions.cookie, ""), caller().address
            )
            answer.delete_cookie(authenticator.sessions.cookie, httponly=True, samesite="lax")
        return answer

    return router
