"""Signing in to the page with a token, and out again."""

from __future__ import annotations

from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response
from starlette.responses import RedirectResponse

from cos.backend.access import service
from cos.backend.auth.gate import SIGN_IN, cookie_name, grant_of
from cos.backend.auth.policy import Policy
from cos.backend.auth.secret import session_id
from cos.backend.dashboard import pages
from cos.backend.deps import BoundedRoute, ServicesDep

router = APIRouter(route_class=BoundedRoute, include_in_schema=False)

_WRONG = "This token is not known, has expired or was revoked."


@router.get(SIGN_IN)
async def ask(request: Request) -> Response:
    """Show the form."""
    return _form(request, next_path=request.query_params.get("next"))


@router.post(SIGN_IN)
async def sign_in(request: Request, services: ServicesDep) -> Response:
    """Open a session for who holds a token; the browser keeps it in a cookie that no script can read."""
    form = await request.form()
    text, wanted = form.get("token"), form.get("next")
    wanted = wanted if isinstance(wanted, str) else None
    grant = await services.grants.of_token(text.strip()) if isinstance(text, str) else None
    if grant is None:
        return _form(request, next_path=wanted, wrong=_WRONG)
    name = cookie_name(https=_is_https(request))
    policy: Policy = request.app.state.policy
    async with services.sessions() as db, db.begin():
        opened = await service.open_session(
            db,
            grant,
            seconds=policy.session_seconds,
            instead_of=session_id(request.cookies.get(name, "")),
        )
    answer = RedirectResponse(_local(wanted), status_code=303)
    answer.set_cookie(
        name,
        opened.cookie,
        max_age=policy.session_seconds,
        path="/",
        secure=_is_https(request),
        httponly=True,
        samesite="strict",
    )
    return answer


@router.post("/sign-out")
async def sign_out(request: Request, services: ServicesDep) -> Response:
    """End the session; harmless when there is none."""
    async with services.sessions() as db, db.begin():
        await service.close_session(db, grant_of(request), forget=services.grants.forget)
    answer = RedirectResponse(SIGN_IN, status_code=303)
    https = _is_https(request)
    answer.delete_cookie(cookie_name(https=https), path="/", secure=https, httponly=True, samesite="strict")
    # What the browser still holds of the pages is not for who comes next.
    answer.headers["Clear-Site-Data"] = '"cache"'
    return answer


def _form(request: Request, *, next_path: str | None, wrong: str | None = None) -> Response:
    policy: Policy = request.app.state.policy
    shown = {
        "next": _local(next_path),
        "wrong": wrong,
        "asked": policy.asks_for_tokens,
        "who": grant_of(request).name,
        "theme": pages.theme(request),
        "https": _is_https(request),
    }
    return pages.html(pages.render("sign_in.html", shown), status=401 if wrong else 200)


def _is_https(request: Request) -> bool:
    return request.url.scheme == "https"


def _local(path: str | None) -> str:
    """Give a path of this server: never another's address, however it is written."""
    if path is None or not path.startswith("/") or path.startswith(("//", SIGN_IN)):
        return "/"
    if any(character in path for character in "\\\r\n\t") or not path.isascii() or not path.isprintable():
        return "/"
    parts = urlsplit(path)
    return "/" if parts.scheme or parts.netloc else path
