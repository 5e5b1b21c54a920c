"""What each route asks for: one table, by the beginning of the path and by whether the method changes anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
#: Stands for the method where a WebSocket is opened: what is sent over it may change anything.
WEBSOCKET = "WEBSOCKET"


class Scope(IntEnum):
    """What a token may do; a higher one includes the lower ones, `OPEN` needs no token at all."""

    OPEN = 0
    READ = 1
    WRITE = 2
    ADMIN = 3

    @property
    def word(self) -> str:
        """The name by which it is stored, sent and shown."""
        return self.name.lower()

    @classmethod
    def of(cls, word: str) -> Scope:
        """Give the scope of a stored word; raises KeyError for another one."""
        return cls[word.upper()]


@dataclass(frozen=True, slots=True)
class Rule:
    """What the routes under one path ask for.

    Attributes:
        path: of a route, or the beginning of many up to a slash.
        safe: for methods that only read.
        unsafe: for all others.
    """

    path: str
    safe: Scope
    unsafe: Scope


OPEN, READ, WRITE, ADMIN = Scope.OPEN, Scope.READ, Scope.WRITE, Scope.ADMIN

#: Every route stands under one of these, a test holds it. The longest path that fits is the one that counts.
RULES = (
    Rule("/", READ, ADMIN),
    Rule("/health", OPEN, ADMIN),
    Rule("/ready", READ, ADMIN),
    Rule("/metrics", READ, ADMIN),
    Rule("/docs", READ, ADMIN),
    Rule("/openapi.json", READ, ADMIN),
    Rule("/sign-in", OPEN, OPEN),
    Rule("/sign-out", OPEN, OPEN),
    Rule("/ui", READ, WRITE),
    Rule("/ui/static", OPEN, ADMIN),
    Rule("/ui/letters", READ, ADMIN),
    Rule("/ui/readers", READ, ADMIN),
    Rule("/ui/webhooks", ADMIN, ADMIN),
    Rule("/ui/access", ADMIN, ADMIN),
    Rule("/ui/live/webhooks", ADMIN, ADMIN),
    Rule("/ui/live/access", ADMIN, ADMIN),
    Rule("/events", READ, WRITE),
    Rule("/events/ws", READ, READ),
    Rule("/cc", READ, WRITE),
    Rule("/modules", READ, WRITE),
    Rule("/cc/ping", READ, READ),
    Rule("/cc/tokens", ADMIN, ADMIN),
    Rule("/cc/webhooks", ADMIN, ADMIN),
    Rule("/cc/backups", ADMIN, ADMIN),
    Rule("/cc/dead-letters", READ, ADMIN),
    Rule("/cc/groups", READ, ADMIN),
    Rule("/cc/projections", READ, ADMIN),
)

#: What administers although a token that writes may do it: the beginning of the path, and what of it does not.
_SILENT = "/cc/mem0/scratch/cleanup"
_ADMINISTERS = (("/cc/modules", "/heartbeat"), ("/ui/modules", ""), (_SILENT, ""))

#: For a path that no rule names: it is read like any other, and changed by nobody but an administrator.
_UNKNOWN = Rule("", READ, ADMIN)


class Need(Protocol):
    """What a route of a package asks for, see `needs`."""

    def serves(self, method: str, path: str) -> bool:
        """Say whether it would serve a request."""
        ...

    def scope_for(self, method: str) -> Scope:
        """Give what it asks for."""
        ...


#: Under this stand the routes of packages.
PACKAGES = "/modules/"


class Rules:
    """The table, and what modules of other packages add to it."""

    def __init__(
        self, extra: Iterable[Rule] = (), *, packages: Mapping[str, Sequence[Need]] | None = None
    ) -> None:
        """Take what is added.

        Args:
            extra: further rules; one for a path that is there already is ignored, so that nobody opens ours.
            packages: by module, what its routes ask for, in the order in which they are tried; it counts for nothing
                that is not mounted under that module.
        """
        self._rules = {rule.path: rule for rule in (*extra, *RULES)}
        self._packages = dict(packages or {})

    def rule_for(self, path: str) -> Rule | None:
        """Give the rule that names a path or the longest beginning of it; None when there is none.

        The path is taken as the router takes it: decoded once, with nothing else put right. What the router does not
        know under this spelling it does not serve, so no spelling of a path reaches a route under another's rule.
        """
        found = self._rules.get(path)
        while found is None:
            cut = path.rfind("/")
            if cut <= 0:
                return None
            path = path[:cut]
            found = self._rules.get(path)
        return found

    def scope_of(self, method: str, path: str) -> Scope:
        """Give what a request asks for; of a WebSocket the method is `WEBSOCKET`."""
        if path.startswith(PACKAGES):
            name = path.removeprefix(PACKAGES).partition("/")[0]
            for need in self._packages.get(name, ()):
                if need.serves(method, path):
                    return need.scope_for(method)
        rule = self.rule_for(path) or _UNKNOWN
        return rule.safe if method in SAFE_METHODS else rule.unsafe

    def is_administrative(self, method: str, path: str) -> bool:
        """Say whether a request, when it is done, is an act that the log tells of, with who did it."""
        if method in SAFE_METHODS:
            return False
        if self.scope_of(method, path) is Scope.ADMIN:
            return True
        return any(
            (path == beginning or path.startswith(f"{beginning}/")) and not (but and path.endswith(but))
            for beginning, but in _ADMINISTERS
        )

    def is_silent(self, path: str) -> bool:
        """Say whether an administrative act records nothing of itself; every other one does, whoever does it."""
        return path == _SILENT or path.startswith(f"{_SILENT}/")
