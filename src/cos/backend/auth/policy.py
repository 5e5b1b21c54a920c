"""What the settings say about access, checked and put into the forms that the gate uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from cos.backend.auth.asked import Bounds
from cos.backend.auth.origin import Origins, is_loopback
from cos.errors import BadSetting

if TYPE_CHECKING:
    from cos.config import Settings

#: Requests a second of one token or address, where COS can be reached from elsewhere and no setting says otherwise.
RATE_ELSEWHERE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How the gate judges.

    Attributes:
        asks_for_tokens: False only where COS listens on loopback alone, under no further name.
        origins: judges hosts and pages.
        bounds: of a request's head.
        rate_per_second: of one token or address; 0 is no limit.
        rate_burst: how many may come at once.
        session_seconds: how long a sign-in lasts.
    """

    asks_for_tokens: bool
    origins: Origins
    bounds: Bounds
    rate_per_second: int
    rate_burst: int
    session_seconds: int

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Read the settings; raises BadSetting for a name or origin that is none."""
        loopback = is_loopback(settings.host)
        further = frozenset(_name(one) for one in parts(settings.hosts))
        rate = settings.rate_per_second
        if rate is None:
            rate = 0 if loopback and not further else RATE_ELSEWHERE
        return cls(
            # A further name means that something leads others here: what comes over loopback is then no proof of
            # being on this machine.
            asks_for_tokens=settings.require_token or not loopback or bool(further),
            origins=Origins(
                names=frozenset({"localhost", "127.0.0.1", "::1", settings.host.lower()}) | further,
                addresses=not loopback,
                pages=frozenset(_origin(one) for one in parts(settings.origins)),
            ),
            bounds=Bounds(
                url_bytes=settings.max_url_bytes,
                header_bytes=settings.max_header_bytes,
                headers=settings.max_headers,
            ),
            rate_per_second=rate,
            rate_burst=settings.rate_burst,
            session_seconds=settings.session_hours * 3600,
        )


def parts(text: str) -> list[str]:
    """Give the parts of a setting that holds many, separated by commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _name(text: str) -> str:
    if any(character in text for character in "/:@*? ") or not text.isascii():
        raise BadSetting(
            f"The setting COS_HOSTS={text} cannot be used: it holds host names by commas, "
            "without port or scheme, such as cos.example.org."
        )
    return text.lower()


def _origin(text: str) -> str:
    try:
        split = urlsplit(text)
        whole = f"{split.scheme}://{split.netloc}".lower()
        fine = split.scheme in {"http", "https"} and split.hostname and whole == text.lower().rstrip("/")
    except ValueError:
        fine = whole = ""
    if not fine:
        raise BadSetting(
            f"The setting COS_ORIGINS={text} cannot be used: it holds origins by commas, such as http://localhost:5173."
        )
    return whole
