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
#: By whether the answer is a page, and whether it goes over TLS.
_WHOLE = {
    (page, https): (*pairs, _NOT_KEPT, *((_HTTPS,) if https else ()))
    for page, pairs in ((False, _OF_DATA), (True, _OF_PAGES))
    for https in (False, True)
}
_NAMES = frozenset(name for name, _ in _WHOLE[True, True])


def secure(message: Message, *, https: bool) -> None:
    """Add the headers to a response's start; what the route has set itself stays as it is.

    Args:
        message: `http.response.start`, changed in place.
        https: whether the client came over TLS.
    """
    own = message.get("headers", ())
    is_page = False
    names = set()
    for name, value in own:
        names.add(name)
        if name == b"content-type" and value.startswith(b"text/html"):
            is_page = True
    # Most answers set none of these themselves: what is added is then one of four lists made beforehand.
    whole = _WHOLE[is_page, https]
    if not names.isdisjoint(_NAMES):
        whole = tuple(pair for pair in whole if pair[0] not in names or pair is _HTTPS)
    message["headers"] = [*own, *whole]
