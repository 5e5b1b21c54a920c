"""The gate: every request passes it before any route does, whatever serves it.

A request is judged in this order, and the first objection is its answer: size and form of its head (414, 431, 400),
its host and page (403), its token or session (401), its rate (429), its scope (403), the proof that our own page sent
it (403), the declared size of its body (413). What passes carries its `Grant` in the scope. An answer without an end
is judged again while it lasts, so that it ends when its token does.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qs, quote

import structlog
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cos.backend.auth import person, secret
from cos.backend.auth.answer import Answer
from cos.backend.auth.asked import Asked
from cos.backend.auth.buckets import Buckets
from cos.backend.auth.grants import NOBODY, THIS_MACHINE, Grant, Grants
from cos.backend.auth.origin import is_loopback
from cos.backend.auth.scopes import SAFE_METHODS, WEBSOCKET, Rules, Scope
from cos.backend.problems import cos_problem
from cos.common import db
from cos.errors import (
    CosError,
    DiskFull,
    Forbidden,
    PostgresUnreachable,
    TooLarge,
    TooManyRequests,
    Unauthorized,
    Unavailable,
)

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Send
    from starlette.types import Scope as AsgiScope

    from cos.backend.auth.policy import Policy

_log = structlog.get_logger("cos.access")

#: Under this name a request's scope holds its `Grant`.
GRANT = "cos.grant"
#: How a session's form proves that our page made it: a header, or a field of the form.
CSRF_HEADER = "X-CSRF-Token"
CSRF_FIELD = "csrf_token"
SIGN_IN = "/sign-in"

#: Wrong tokens of one address: so many at once, and one a second after that.
_WRONG_BURST = 20
_WRONG_PER_SECOND = 1.0
_FORM_BYTES = 64 * 1024
_LINES = (b"application/x-ndjson", b"application/jsonl", b"application/x-jsonlines", b"application/ndjson")
_NOT_TOLD = (
    "This was done, but the log could not be told who did it, for Postgres did not take the record: look before you "
    "do it again."
)


class Act(Protocol):
    """An administrative act, which must be told before it is answered."""

    def under_way(self) -> AbstractContextManager[None]:
        """Let the transactions that are committed in here tell it."""
        ...

    async def tell(self, status: int) -> None:
        """Record it if no transaction has; raises CosError when that fails."""
        ...


#: Makes an act of a request: the grant, what is asked, and the request's scope.
Audit = Callable[[Grant, Mapping[str, Any], "AsgiScope"], Act]


#: Gives the page on which a person reads why the gate refused what the page asked for.
Shown = Callable[[Request, CosError], Awaitable[Response]]


def grant_of(request: Request) -> Grant:
    """Give what a request may do, and who asks."""
    grant: Grant = request.scope.get(GRANT, NOBODY)
    return grant


def cookie_name(*, https: bool) -> str:
    """Name the session's cookie; over TLS with the prefix that keeps other hosts from setting it."""
    return "__Host-cos_session" if https else "cos_session"


class Gate:
    """Pure ASGI, in front of the whole app, so that no route can be reached past it."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        policy: Policy,
        grants: Grants,
        rules: Rules,
        most_body_bytes: Callable[[], int],
        audit: Audit | None = None,
        shown: Shown | None = None,
    ) -> None:
        """Wrap the app.

        Args:
            app: what is served.
            policy: from the settings.
            grants: finds who is behind a secret.
            rules: what each path asks for.
            most_body_bytes: tells how large a body that is not a stream of lines may be now.
            audit: makes an act of what an administrator asks for, None where nobody is told.
            shown: makes a page of a refusal, for who is known; None for a problem document, as programs get.
        """
        self._app = app
        self._policy = policy
        self._grants = grants
        self._rules = rules
        self._most_body_bytes = most_body_bytes
        self._audit = audit
        self._shown = shown
        self._rate = Buckets(per_second=policy.rate_per_second, burst=policy.rate_burst)
        self._wrong = Buckets(per_second=_WRONG_PER_SECOND, burst=_WRONG_BURST)

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Judge one request, and serve it or answer why not."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        answer = Answer(send, https=scope.get("scheme") in {"https", "wss"})
        websocket = scope["type"] == "websocket"
        try:
            asked = Asked(scope, self._policy.bounds)
            self._policy.origins.check(asked, websocket=websocket)
            method = WEBSOCKET if websocket else asked.method
            wanted = self._rules.scope_of(method, asked.path)
            grant = scope[GRANT] = await self._identify(asked, scope)
            self._check_rate(grant, scope)
            _check_scope(grant, wanted)
            signs_in = asked.path == SIGN_IN and asked.method == "POST"
            if signs_in:
                self._check_guesses(_address(scope))
            if grant.csrf is not None and (websocket or asked.method not in SAFE_METHODS):
                receive = await _prove_own_page(asked, grant, self._policy, receive, websocket=websocket)
            if asked.length is not None and asked.length > self._most_body_bytes():
                _check_length(asked, self._most_body_bytes())
        except CosError as error:
            await self._refuse(error, scope, receive, answer.send)
            return
        if grant.token_id is not None:
            answer.still_allowed = lambda: self._is_still_allowed(asked, scope, wanted)
        act = self._act(grant, method, asked.path, scope)
        if act is None:
            await self._app(scope, receive, answer.send)
        else:
            with act.under_way():
                await self._app(scope, receive, self._telling(act, asked, scope, receive, answer.send))
        if signs_in and answer.status == HTTPStatus.UNAUTHORIZED:
            self._wrong.take(_address(scope))
            _log.warning("sign_in_refused", address=_address(scope))

    async def _is_still_allowed(self, asked: Asked, scope: AsgiScope, wanted: Scope) -> bool:
        try:
            return (await self._identify(asked, scope)).scope >= wanted
        except (PostgresUnreachable, DiskFull):
            return True  # nobody can be asked: it was allowed when somebody could
        except CosError:
            return False

    async def _identify(self, asked: Asked, scope: AsgiScope) -> Grant:
        """Find out who asks; raises Unauthorized where that must be known and is not."""
        policy = self._policy
        given = asked.get(b"authorization")
        if given is not None:
            kind, _, text = given.partition(" ")
            if kind.lower() == "bearer":
                return await self._bearer(text.strip(), _address(scope))
        if not policy.asks_for_tokens:
            if asked.is_proxied:
                _check_proxied(asked)
            return THIS_MACHINE
        cookie = asked.cookie(cookie_name(https=asked.https))
        return NOBODY if cookie is None else await self._session(cookie, _address(scope))

    async def _bearer(self, text: str, address: str) -> Grant:
        # What is remembered costs nothing to check; anything else costs a question to Postgres.
        if not self._grants.is_remembered(text):
            self._check_guesses(address)
        grant = await _or_unavailable(self._grants.of_token(text))
        if grant is None:
            self._wrong.take(address)
            _log.warning("token_refused", address=address, token_id=secret.token_id(text))
            raise Unauthorized(
                "This token is not known, has expired or was revoked; make another with: cos token create"
            )
        return grant

    async def _session(self, cookie: str, address: str) -> Grant:
        if not self._grants.is_remembered(cookie) and self._wrong.wait(address) > 0:
            return NOBODY
        grant = await _or_unavailable(self._grants.of_session(cookie))
        if grant is None:
            self._wrong.take(address)
        return grant or NOBODY

    def _check_guesses(self, address: str) -> None:
        wait = math.ceil(self._wrong.wait(address))
        if wait > 0:
            raise TooManyRequests(
                f"Too many wrong tokens came from this address; try again in {wait} s.",
                retry_after_seconds=wait,
            )

    def _check_rate(self, grant: Grant, scope: AsgiScope) -> None:
        if self._policy.rate_per_second <= 0:
            return
        wait = self._rate.take(grant.token_id or _address(scope))
        if wait > 0:
            raise TooManyRequests(
                f"More than {self._policy.rate_per_second} requests a second; go on in {math.ceil(wait)} s.",
                retry_after_seconds=math.ceil(wait),
            )

    async def _refuse(self, error: CosError, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Answer why not; a person's browser that needs to sign in is led there."""
        if scope["type"] == "websocket":
            if "websocket.http.response" not in scope.get("extensions", {}):
                await send({"type": "websocket.close", "code": 1008, "reason": error.detail[:120]})
                return
            request = Request({**scope, "type": "http", "method": "GET"})
        else:
            request = Request(scope)
        if isinstance(error, Unauthorized) and person.asks_for_page(request):
            back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            away = RedirectResponse(f"{SIGN_IN}?next={quote(back, safe='')}", status_code=303)
            await away(scope, receive, send)
            return
        if (
            self._shown is not None
            and isinstance(error, Forbidden)
            and person.reads(request, known=GRANT in request.scope)
        ):
            response = await self._shown(request, error)
            await response(scope, receive, send)
            return
        response = cos_problem(request, error)
        if isinstance(error, Unauthorized):
            response.headers["WWW-Authenticate"] = 'Bearer realm="COS"'
        if isinstance(error, TooManyRequests):
            response.headers["Retry-After"] = str(error.extra.get("retry_after_seconds", 1))
        await response(scope, receive, send)

    def _act(self, grant: Grant, method: str, path: str, scope: AsgiScope) -> Act | None:
        """Give the act that a request is; None for one of which the log need not tell."""
        if self._audit is None or not self._rules.is_administrative(method, path):
            return None
        if grant.token_id is None and not self._rules.is_silent(path):
            return None  # nobody to name: what the act records of itself says all that is known
        done = {"method": method, "path": path, "address": _address(scope)}
        return self._audit(grant, done, scope)

    def _telling(self, act: Act, asked: Asked, scope: AsgiScope, receive: Receive, send: Send) -> Send:
        """Give what sends the answer to an act, and lets nothing out before the act is told."""
        given_up = False

        async def told_first(message: Message) -> None:
            nonlocal given_up
            status = _status_in(message)
            if status is not None and _was_done(status):
                try:
                    await act.tell(status)
                except CosError as error:
                    given_up = True
                    _log.error("audit_failed", path=asked.path, error=error.detail)
                    await self._refuse(Unavailable(_NOT_TOLD), scope, receive, send)
            if not given_up:
                await send(message)

        return told_first


def _check_scope(grant: Grant, wanted: Scope) -> None:
    if grant.scope >= wanted:
        return
    if grant.token_id is None:
        raise Unauthorized(
            "This needs a token, sent as the header Authorization: Bearer …; make one with: cos token create"
        )
    raise Forbidden(
        f"This needs a token with the scope {wanted.word}; {ascii(grant.name)[:80]} has {grant.scope.word}."
    )


async def _prove_own_page(
    asked: Asked, grant: Grant, policy: Policy, receive: Receive, *, websocket: bool
) -> Receive:
    """Hold that a request that a browser signed by itself, with its cookie, was sent by a page of ours.

    Returns:
        What gives the body, which was read where the proof stands in a form.
    """
    origin = asked.get(b"origin")
    if origin is not None and not policy.origins.is_own(
        origin.lower(), asked.get(b"host") or "", https=asked.https
    ):
        raise Forbidden(f"Pages of {ascii(origin)[:80]} may not act for who is signed in here.")
    if websocket:
        if origin is None:
            raise Forbidden("A WebSocket that is opened with a cookie must tell its page (Origin).")
        return receive
    if asked.path == SIGN_IN:
        return receive  # it acts for nobody yet; that no other site sends it was held above
    given = asked.get(CSRF_HEADER.lower().encode())
    if given is None and (asked.get(b"content-type") or "").startswith("application/x-www-form-urlencoded"):
        given, receive = await _from_form(receive)
    if given is None or grant.csrf is None or not secret.same(given, grant.csrf):
        raise Forbidden(f"The page that sent this is out of date: load it again ({CSRF_HEADER} is wrong).")
    return receive


async def _from_form(receive: Receive) -> tuple[str | None, Receive]:
    """Read a form to find its proof; gives it, and what gives the same body again."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            break
        body += message.get("body", b"")
        if len(body) > _FORM_BYTES:
            raise TooLarge(f"The form is larger than {_FORM_BYTES} bytes.")
        if not message.get("more_body", False):
            break
    whole = bytes(body)
    replayed = False

    async def again() -> Message:
        nonlocal replayed
        if replayed:
            return await receive()
        replayed = True
        return {"type": "http.request", "body": whole, "more_body": False}

    found = parse_qs(whole.decode("latin-1"), max_num_fields=1000) if whole.count(b"&") < 1000 else {}  # noqa: PLR2004
    values = found.get(CSRF_FIELD, [])
    return (values[0] if len(values) == 1 else None), again


def _check_length(asked: Asked, most: int) -> None:
    kind = (asked.get(b"content-type") or "").partition(";")[0].strip().lower().encode("latin-1")
    if kind not in _LINES:
        raise TooLarge(f"The body is larger than {most} bytes; send many events as a stream of lines.")


def _check_proxied(asked: Asked) -> None:
    """Refuse what a proxy brings from another machine, where no token is asked for because there should be none."""
    for name in (b"x-forwarded-for", b"forwarded", b"x-real-ip"):
        given = asked.get(name)
        if given is None:
            continue
        if name == b"forwarded" or not all(is_loopback(part.strip()) for part in given.split(",")):
            raise Forbidden(
                "This request came through a proxy, and COS asks for no token here: set COS_REQUIRE_TOKEN=true "
                "before others are led to it."
            )


async def _or_unavailable(looking: Awaitable[Grant | None]) -> Grant | None:
    try:
        return await looking
    except (SQLAlchemyError, *db.LOST) as error:
        raise PostgresUnreachable(
            "Tokens cannot be checked while Postgres does not answer; try again shortly."
        ) from error


def _address(scope: AsgiScope) -> str:
    client = scope.get("client")
    return client[0] if client else ""


def _status_in(message: Message) -> int | None:
    """Give the status with which an answer begins; None for what goes on or ends it."""
    if message["type"] == "websocket.accept":
        return HTTPStatus.SWITCHING_PROTOCOLS
    return int(message["status"]) if message["type"] == "http.response.start" else None


def _was_done(status: int) -> bool:
    return HTTPStatus.SWITCHING_PROTOCOLS <= status < HTTPStatus.BAD_REQUEST
