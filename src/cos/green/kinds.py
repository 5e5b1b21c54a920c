"""The kinds of error that name what is missing or wrong: for each, what makes two of them the same."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

Key = tuple[str, ...]

# an owner that any code may hold says nothing about whose fault it is
GENERIC = frozenset(
    [
        "NoneType",
        "str",
        "int",
        "float",
        "bool",
        "bytes",
        "bytearray",
        "list",
        "dict",
        "tuple",
        "set",
        "frozenset",
        "object",
        "function",
        "method",
        "coroutine",
        "generator",
        "type",
        "module",
        "Mock",
        "MagicMock",
        "AsyncMock",
        "builtin_function_or_method",
        "async_generator",
        "property",
        "map",
        "filter",
        "zip",
        "range",
        "Namespace",
        "SimpleNamespace",
    ]
)


@dataclass(frozen=True, slots=True)
class Kind:
    """What a message said: `key` is equal for equal causes; `firm` says that the key alone proves it."""

    name: str
    key: Key
    pattern: str
    firm: bool = True
    owner: str = ""


def _last(dotted: str) -> str:
    return dotted.rpartition(".")[2].rpartition(">")[2]


def _missing(owner: str, name: str, pattern: str) -> Kind:
    return Kind("missing-name", ("missing", _last(owner), name), pattern, _last(owner) not in GENERIC, owner)


def _attribute(m: re.Match[str]) -> Kind:
    return _missing(m["owner"], m["name"], f"'{m['owner']}' has no attribute '{m['name']}'")


def _import_name(m: re.Match[str]) -> Kind:
    return _missing(m["owner"], m["name"], f"cannot import name '{m['name']}' from '{m['owner']}'")


def _module(m: re.Match[str]) -> Kind:
    return Kind("missing-module", ("module", m["name"]), f"No module named '{m['name']}'", owner=m["name"])


def _signature(m: re.Match[str]) -> Kind:
    name = m["name"]
    short = ".".join(name.rpartition(">.")[2].split(".")[-2:])
    return Kind(
        "signature", ("signature", short), f"the signature of {short}() does not fit its calls", owner=name
    )


def _named(kind: str, pattern: str) -> Callable[[re.Match[str]], Kind]:
    def make(m: re.Match[str]) -> Kind:
        name = next((group for group in m.groups() if group), "")
        return Kind(kind, (kind, name.lower()), pattern.format(name), owner=name)

    return make


def _fixed(kind: str, key: str, pattern: str) -> Callable[[re.Match[str]], Kind]:
    return lambda _: Kind(kind, (kind, key), pattern)


def _validation(m: re.Match[str]) -> Kind:
    return Kind(
        "validation",
        ("validation", m["model"], m["field"] or ""),
        f"validation of {m['model']}.{m['field']}",
        owner=m["model"],
    )


def _mock_call(m: re.Match[str]) -> Kind:
    """Name what differs between two calls: keywords that came or went are the change; else the function is."""
    expected, actual = m["expected"], m["actual"]
    if actual.startswith("not called"):
        return Kind(
            "mock-call",
            ("mock-not-called", m["name"]),
            f"{m['name']}() is not called",
            firm=False,
            owner=m["name"],
        )
    keyword = re.compile(r"[(,] ?([A-Za-z_]\w*)=")
    had, has = set(keyword.findall("(" + expected)), set(keyword.findall("(" + actual))
    if difference := sorted(had ^ has):
        shown = ", ".join(difference)
        return Kind(
            "mock-call",
            ("mock-keywords", shown),
            f"calls differ in the keywords {shown}",
            firm=False,
            owner=m["name"],
        )
    return Kind(
        "mock-call",
        ("mock-arguments", m["name"]),
        f"{m['name']}() gets other arguments",
        firm=False,
        owner=m["name"],
    )


_SIGNATURE = (
    r"(?:^|: )(?P<name>[A-Za-z_][\w.<>]*)\(\) (?:got (?:an unexpected keyword|multiple values|some positional-only)"
    r"|missing \d+ required|takes \d|takes from|takes no|argument after)"
)
_TABLE: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Kind]], ...] = tuple(
    (re.compile(pattern, re.DOTALL), make)
    for pattern, make in (
        (r"fixture '([^']+)' not found", _named("missing-fixture", "fixture '{}' not found")),
        (
            r"recursive dependency involving fixture '([^']+)'",
            _named("fixture-loop", "fixture '{}' depends on itself"),
        ),
        (r"not found in `markers` configuration option", _fixed("markers", "", "markers are not registered")),
        (
            r"mark can't have '(\w+)' keyword argument",
            _named("markers", "a mark has the unknown keyword '{}'"),
        ),
        (r"(?:module|type object|class) '(?P<owner>[\w.]+)' has no attribute '(?P<name>\w+)'", _attribute),
        (r"'(?P<owner>[\w.]+)' object has no attribute '(?P<name>\w+)'", _attribute),
        (
            r"<(?:module|class) '(?P<owner>[\w.]+)'[^>]*> does not have the attribute '(?P<name>\w+)'",
            _attribute,
        ),
        (r"type object '(?P<owner>[\w.]+)' has no attribute '(?P<name>\w+)'", _attribute),
        (
            r"cannot import name '(?P<name>\w+)' from (?:partially initialized module )?'(?P<owner>[\w.]+)'",
            _import_name,
        ),
        (r"No module named '?(?P<name>[\w.]+)'?", _module),
        (_SIGNATURE, _signature),
        (r"Can't instantiate abstract class (\w+)", _named("abstract", "{} lacks methods that it must have")),
        (r"no such table: ([\w.]+)", _named("missing-table", "no table '{}'")),
        (r"relation \"([\w.]+)\" does not exist", _named("missing-table", "no table '{}'")),
        (r"no such column: ([\w.]+)|has no column named (\w+)", _named("missing-column", "no column '{}'")),
        (
            r"column \"?([\w.]+)\"? (?:of relation \S+ )?does not exist",
            _named("missing-column", "no column '{}'"),
        ),
        (
            r"password authentication failed for user \"([^\"]+)\"",
            _named("login", "the login of '{}' is refused"),
        ),
        (
            r"AUTH <password> called without|NOAUTH |WRONGPASS |invalid (?:username-)?password",
            _fixed("login", "server", "the server refuses the login"),
        ),
        (r"database is locked", _fixed("database-locked", "", "the database is locked")),
        (r"No space left on device", _fixed("disk-full", "", "the disk is full")),
        (
            r"is bound to a different event loop|attached to a different (?:event )?loop",
            _fixed("event-loop", "other", "an object is bound to another event loop"),
        ),
        (
            r"asyncio\.run\(\) cannot be called from a running|[Ee]vent loop is already running",
            _fixed("event-loop", "nested", "an event loop is started inside a running one"),
        ),
        (r"Event loop is closed", _fixed("event-loop", "closed", "the event loop is closed")),
        (
            r"no running event loop|There is no current event loop",
            _fixed("event-loop", "none", "there is no running event loop"),
        ),
        (
            r"async def functions are not natively supported",
            _fixed("async-plugin", "", "async tests have no plugin that runs them"),
        ),
        (
            (
                r"port (\d+) failed: (?:FATAL|Connection refused)|Connect call failed \('[^']*', (\d+)"
                r"|connecting to [\w.-]+:(\d+)|[\w.-]+:(\d{2,5})[\s.,)]*(?:Connection refused|failed)"
                r"|port=(\d+)\)?: Max retries"
            ),
            _named("connection", "nothing answers on port {}"),
        ),
        (
            (
                r"Connection refused|All connection attempts failed|Connect call failed|Errno 111"
                r"|Name or service not known|Temporary failure in name resolution|getaddrinfo failed"
            ),
            _fixed("connection", "", "a server does not answer"),
        ),
        (r"(?P<n>\d+) validation errors? for (?P<model>\w+)(?:\s+(?P<field>[\w.]+))?", _validation),
        (r"No such file or directory: '([^']+)'", _named("missing-file", "no file '{}'")),
        (
            r"worker '?gw\d+'? crashed|[Ss]egmentation fault|Fatal Python error",
            _fixed("crash", "", "the process crashed"),
        ),
        (
            r"Expected '(\w+)' to (?:have been|be) (?:called|awaited)[^.]*\.?(?: Called 0 times)?",
            _named("mock-call", "{}() is not called as expected"),
        ),
        (
            (
                r"expected (?:call|await) not found\.\s*Expected: (?P<expected>(?P<name>[\w.]+)\(.*?)\n"
                r"\s*Actual: (?P<actual>.*?)(?:\npytest introspection|\Z)"
            ),
            _mock_call,
        ),
    )
)
_WEAK = frozenset({"mock-call", "connection"})
_LOCAL_NAME = re.compile(r"name '(\w+)' is not defined")
_UNBOUND = re.compile(r"(?:local variable|cannot access (?:local|free) variable) '(\w+)'")


def recognise(message: str) -> Kind | None:
    """Find the kind of a message that names its cause by itself.

    Args:
        message: what the root exception said.

    Returns:
        The kind, or None for an assertion or an error whose place must tell.
    """
    text = message[:4000]
    for pattern, make in _TABLE:
        if match := pattern.search(text):
            kind = make(match)
            if kind.name in _WEAK and kind.firm and kind.name == "mock-call":
                return Kind(kind.name, kind.key, kind.pattern, firm=False, owner=kind.owner)
            return kind
    return None


def undefined_name(message: str) -> str | None:
    """Give the name that a NameError or an UnboundLocalError misses."""
    match = _LOCAL_NAME.search(message) or _UNBOUND.search(message)
    return match[1] if match else None
