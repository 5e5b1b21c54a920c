"""What every answer tells a browser: to run, frame, guess and pass on nothing that is not ours."""

from __future__ import annotations

from starlette.types import Message

_NOTHING = b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
#: Pages load files of this server alone; nothing stands inline, neither scripts nor styles.
_PAGE = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    b"connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)

_ALWAYS = (
    (b"x-content-type-options", b"nosniff"),
    # Not `no-referrer`: a browser then sends `Origin: null` with our own forms.
    (b"referrer-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_OF_DATA = (*_ALWAYS, (b"content-security-policy", _NOTHING))
_OF_PAGES = (
    *_ALWAYS,
    (b"content-security-policy", _PAGE),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)
_NOT_KEPT = (b"cache-control", b"no-store")
_HTTPS = (b"strict-transport-security", b"max-age=31536000")


def secure(message: Message, *, https: bool) -> None:
    """Add the headers to a response's start; what the route has set itself stays as it is.

    Args:
        message: `http.response.start`, changed in place.
        https: whether the client came over TLS.
    """
    own = list(message.get("headers", ()))
    names = {name for name, _ in own}
    is_page = any(name == b"content-type" and value.startswith(b"text/html") for name, value in own)
    added = [pair for pair in (_OF_PAGES if is_page else _OF_DATA) if pair[0] not in names]
    if b"cache-control" not in names:
        added.append(_NOT_KEPT)
    if https:
        added.append(_HTTPS)
    message["headers"] = own + added
