"""Turns view models into HTML: the templates, and what every page has around its own content."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

import cos
from cos.backend.dashboard import words

if TYPE_CHECKING:
    from starlette.requests import Request

_HERE = Path(__file__).parent
STATIC = _HERE / "static"
#: Cookie in which the page keeps whether it is light or dark; absent, the system decides.
THEME_COOKIE = "cos_theme"
_THEMES = ("light", "dark")


@cache
def environment() -> Environment:
    """Make the templates' environment, once a process: everything is escaped, a name that is not given is an error."""
    made = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= {
        "number": words.number,
        "duration": words.duration,
        "size": words.size,
        "plural": words.plural,
        "summary": words.summary,
    }
    marks: Any = made.get_template("marks.html").module
    made.filters |= {
        "when": lambda time: marks.when(words.when(time)),
        "pretty": lambda text: marks.tokens(words.pretty(text)),
    }
    made.globals |= {"version": cos.__version__, "asset": asset, "zone": words.zone, "absent": words.ABSENT}
    return made


@cache
def asset(name: str) -> str:
    """Give the address of a static file, with a stamp of its content so that a browser may keep it for ever."""
    stamp = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/ui/static/{name}?v={stamp}"


def theme(request: Request) -> str | None:
    """Give the theme that the viewer chose, None when the system decides."""
    chosen = request.cookies.get(THEME_COOKIE)
    return chosen if chosen in _THEMES else None


def wants_fragment(request: Request) -> bool:
    """Say whether htmx asks, which puts the answer into the page that is there."""
    return request.headers.get("hx-request") == "true" and "hx-history-restore-request" not in request.headers


def html(text: str, *, status: int = 200, headers: dict[str, str] | None = None) -> HTMLResponse:
    """Answer with HTML that shows this moment and is never kept."""
    return HTMLResponse(
        text,
        status_code=status,
        headers={"Cache-Control": "no-store", "Vary": "HX-Request", **(headers or {})},
    )


def render(template: str, context: dict[str, Any]) -> str:
    """Render a template of this folder."""
    return environment().get_template(template).render(context)
