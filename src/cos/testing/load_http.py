"""Puts load on an HTTP address."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from cos.errors import BadInput
from cos.testing.load import CallFailed, Closed, LoadReport, Open, run_load

_GOOD = range(200, 400)


async def load_http(
    url: str,
    model: Closed | Open,
    *,
    seconds: float,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    timeout_s: float = 30.0,
    **how: Any,
) -> LoadReport:
    """Call one address again and again; a status from 200 to 399 is good.

    Args:
        url: with http or https.
        model: `Closed` or `Open`.
        seconds: for how long calls are made.
        method: of HTTP.
        headers: of each call.
        body: of each call.
        timeout_s: after which a call is given up.
        **how: of `run_load`: `warm_up_s`, `watch`, `seed`.

    Raises:
        BadInput: the address or a number makes no sense.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadInput(f"{url!r} is no address to put load on: give http://HOST/PATH.")
    most = model.workers if isinstance(model, Closed) else model.most_under_way
    limits = httpx.Limits(max_connections=most, max_keepalive_connections=most)
    async with httpx.AsyncClient(limits=limits, timeout=None, follow_redirects=False) as client:  # noqa: S113  (ours)
        request = client.build_request(method, url, headers=dict(headers or {}), content=body)
        return await run_load(
            _sender(client, request),
            model,
            seconds=seconds,
            timeout_s=timeout_s,
            name=f"{method} {url}",
            **how,
        )


def _sender(client: httpx.AsyncClient, request: httpx.Request) -> Callable[[], Awaitable[None]]:
    async def send() -> None:
        response = await client.send(request)
        if response.status_code not in _GOOD:
            raise CallFailed(f"HTTP {response.status_code}")

    return send
