"""Says of a failure what makes it the same as another: its root error, what that names, and where it rose."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cos.green import introspect, node_id
from cos.green.failure import Failure, Frame, Raised
from cos.green.introspect import enclosing
from cos.green.kinds import Kind, recognise, undefined_name
from cos.green.layout import Layout, side_of
from cos.green.normal import embedded_root, identifiers, template
from cos.green.root import root_of
from cos.green.tokens import about

# Python's own errors say nothing of the project: their place must tell
_PYTHONS = frozenset(
    [
        "TypeError",
        "ValueError",
        "IndexError",
        "KeyError",
        "AttributeError",
        "ZeroDivisionError",
        "OverflowError",
        "ArithmeticError",
        "LookupError",
        "RuntimeError",
        "StopIteration",
        "StopAsyncIteration",
        "UnicodeDecodeError",
        "UnicodeEncodeError",
        "UnboundLocalError",
        "NameError",
        "JSONDecodeError",
        "RecursionError",
        "NotImplementedError",
        "AssertionError",
        "Exception",
        "OSError",
        "Failed",
        "DecimalException",
        "InvalidOperation",
        "TimeoutError",
        "UnsupportedOperation",
        "FrozenInstanceError",
        "BufferError",
        "EOFError",
        "MemoryError",
    ]
)
# of these, the message is the project's or a library's own sentence: without a place it can stand for itself
_TERSE = frozenset(
    "TypeError IndexError KeyError AttributeError ZeroDivisionError StopIteration ValueError".split()  # noqa: SIM905 - a list of words reads best as words
)
_PYTHON_SAYS = re.compile(
    r"NoneType|unsupported operand|not (?:iterable|subscriptable|callable|supported between)|object is not|out of range"
    r"|division by zero|division or modulo|has no len|can only concatenate|must be (?:str|int|real)|invalid literal"
    r"|not enough values"
    r"|too many values|could not convert|indices must be|unhashable|argument of type|bad operand|arg is an empty"
    r"|iterable argument is empty|expected str, bytes|unpack|slice indices|string argument"
)
_WORDED = frozenset(
    {"ValueError", "RuntimeError", "Exception", "OSError", "KeyError", "LookupError", "TimeoutError"}
)
_SYNTAX = frozenset({"SyntaxError", "IndentationError", "TabError"})
_MEASURED = re.compile(
    r"\b\d+\.\d{2,}\d*\s*(?:<=?|>=?)|\b\d+(?:\.\d+)?\s?(?:ms|µs|us|ops/s|ops/sec|req/s|/sec)\b"
)
_BOUND = re.compile(
    r"threshold|target|exceed|below|minimum|latency|throughput|too slow|took|elapsed|within|seconds|faster",
    re.IGNORECASE,
)
_SYNTAX_FILE = re.compile(r'File "([^"]+)", line \d+|\(([\w./-]+\.py), line \d+\)')


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What is known of one failure.

    `key` is equal for failures taken as one at once; `firm` says that nothing less than an equal key joins it to
    others; `place` is the project's code that raised, as `file::function`; `tokens` are what it is about, by weight.
    """

    failure: Failure
    kind: str
    key: tuple[str, ...]
    firm: bool
    pattern: str
    place: str
    files: tuple[str, ...]
    tokens: tuple[tuple[str, float], ...]
    cut: bool = False
    about: str = ""


def fingerprint(failure: Failure, layout: Layout) -> Fingerprint:
    """Work out what one failure says.

    Args:
        failure: with as much of its chain as is known.
        layout: tells the project's files from others.

    Returns:
        Its fingerprint.
    """
    raised = root_of(failure.chain) or Raised("", "")
    message = raised.message
    if raised.name == "KeyError" and " " in message:
        message = message.strip("\"'")  # a KeyError shows its sentence as a literal
    if inner := embedded_root(message):
        message = inner
    frames = raised.frames or next((other.frames for other in failure.chain if other.frames), ())
    placed = _place(frames, failure, layout)
    reader = _Reading(failure, raised, message, frames, placed, layout)
    return reader.read()


def _is_pythons(message: str) -> bool:
    """Say whether Python itself words errors so, as it does when a value is not what the code expects."""
    return bool(_PYTHON_SAYS.search(message)) or not message or " " not in message


@dataclass(frozen=True, slots=True)
class _Place:
    frame: Frame
    local: str
    own: bool  # the raise itself stands there, nothing foreign below

    @property
    def name(self) -> str:
        return f"{self.local}::{self.frame.function or self.frame.line}"


def _place(frames: tuple[Frame, ...], failure: Failure, layout: Layout) -> _Place | None:
    """Find the innermost frame of the project's code that is not the test itself."""
    for number, frame in enumerate(reversed(frames)):
        local = layout.local(frame.file)
        if local is None or (local == failure.file and (failure.phase == "call" or not failure.phase)):
            continue
        if local == failure.file and failure.phase == "collect":
            continue
        return _Place(_named(frame, frames[: len(frames) - number - 1], layout), local, own=number == 0)
    return None


def _named(frame: Frame, outer: tuple[Frame, ...], layout: Layout) -> Frame:
    """Give the frame the name of the function that a person sees: not that of a comprehension, nor none at all."""
    name = frame.function
    if name and (not name.startswith("<") or name == "<module>"):
        return frame
    text = layout.read(frame.file)
    found = enclosing(text, frame.line) if text and frame.line else ""
    found = found or next(
        (f.function for f in reversed(outer) if f.file == frame.file and f.function[:1] != "<"), ""
    )
    return Frame(frame.file, frame.line, found or name, frame.source)


@dataclass(frozen=True, slots=True)
class _Reading:
    failure: Failure
    raised: Raised
    message: str
    frames: tuple[Frame, ...]
    place: _Place | None
    layout: Layout

    def read(self) -> Fingerprint:  # noqa: PLR0911 - one return a kind of error
        name = self.raised.name
        if not name and not self.message:
            phase = self.failure.phase or self.failure.outcome
            return self._make(
                "no-message", ("no-message", self.failure.file, phase), "no message", firm=False
            )
        if name in _SYNTAX:
            return self._syntax()
        if self._in_test_assertion():
            return self._assertion()
        if name in ("NameError", "UnboundLocalError") and (missing := undefined_name(self.message)):
            where = self._at()
            owner = (
                where.partition("::")[0].rpartition("/")[2].removesuffix(".py")
                if where
                else self.failure.file
            )
            return self._make(
                "missing-name", ("missing", owner, missing), f"name '{missing}' is not defined", firm=True
            )
        if kind := recognise(self._full()):
            return self._kind(kind)
        if (
            name == "KeyError"
            and (found := identifiers(self.message))
            and self.message.strip("'\"") == found[0]
        ):
            return self._make("missing-key", ("key", found[0]), f"KeyError: '{found[0]}'", firm=False)
        return self._error()

    def _full(self) -> str:
        return f"{self.raised.name}: {self.message}" if self.raised.name else self.message

    def _at(self) -> str:
        return self.place.name if self.place else ""

    def _in_test_assertion(self) -> bool:
        if self.raised.name not in ("AssertionError", "Failed", ""):
            return False
        if self.place and self.place.own and side_of(self.place.local) == "product":
            return False
        return not self.message.startswith("Timeout") and "markers` configuration" not in self.message

    def _syntax(self) -> Fingerprint:
        found = _SYNTAX_FILE.search(self.message)
        file = (found[1] or found[2]) if found else ""
        file = self.layout.local(file) or file or (self.frames[-1].file if self.frames else self.failure.file)
        return self._make(
            "syntax", ("syntax", file), f"{self.raised.name} in {file}", firm=True, extra=(file,)
        )

    def _kind(self, kind: Kind) -> Fingerprint:
        if kind.firm:
            return self._make(
                kind.name, kind.key, f"{self.raised.name or 'Error'}: {kind.pattern}", firm=True
            )
        if self.place and kind.name == "missing-name":
            return self._make(
                kind.name, (*kind.key, self._at()), f"{kind.pattern} in {self._at()}", firm=False
            )
        key = (*kind.key, *(self._subjects()[:1] if kind.name == "missing-name" else ()))
        return self._make(kind.name, key, kind.pattern, firm=False)

    def _error(self) -> Fingerprint:
        name = self.raised.name or "Error"
        said = template(self.message)
        shown = f"{name}: {said}" if said else name
        product = self.place is not None and (
            side_of(self.place.local) == "product" or self.failure.phase != "call"
        )
        if self.place and product and self.place.own and not (name in _TERSE and _is_pythons(self.message)):
            key = ("raised", name, self._at(), template(self.message, keep="firm"))
            return self._make("raised", key, f"{shown} in {self._at()}", firm=True)
        if name in _PYTHONS or not said:
            if self.place and product:
                # Python's own complaint: the value that it is about may have come from elsewhere
                key = ("raised", name, self._at(), template(self.message, keep="none"))
                return self._make("raised", key, f"{shown} in {self._at()}", firm=False)
            worded = " " in said and name in _WORDED and not self.frames
            return self._make(
                "raised", ("raised", name, said, *(() if worded else self._home())), shown, firm=False
            )
        return self._make(
            "raised", ("raised", name, said), shown, firm="." in self.raised.type and self._foreign_type()
        )

    def _foreign_type(self) -> bool:
        """Say whether the exception's class is a library's: its message then names one state of the world."""
        first = self.raised.type.partition(".")[0]
        top = self.failure.file.partition("/")[0]
        return first not in ("src", "app", "tests", "test", top) and "Error" in self.raised.name

    def _assertion(self) -> Fingerprint:
        if introspect.is_empty_capture(self.message):
            return self._make(
                "empty-capture",
                ("empty-capture",),
                "looked for a message in captured output that is empty",
                firm=True,
            )
        if _MEASURED.search(self.message) and _BOUND.search(self.message):
            return self._make(
                "performance", ("performance",), "a measured time or rate misses its bound", firm=True
            )
        said = template(self.message.partition("\n")[0])
        kind = recognise(self.message) if self.message.startswith(("Expected", "expected")) else None
        if kind and kind.name == "mock-call":
            return self._kind(kind)
        name = self.raised.name or "AssertionError"
        shown = said if said.startswith("assert ") or not said else f"{name}: {said}"
        return self._make("assertion", ("assertion", said, *self._home()), shown or name, firm=False)

    def _home(self) -> tuple[str, ...]:
        """Give what stands in for a place: what the test was about, else the test's function."""
        return self._subjects() or (node_id.without_parameters(self.failure.test),)

    def _subjects(self) -> tuple[str, ...]:
        calls, types = introspect.where_names(self.raised.message)
        return tuple(dict.fromkeys([*calls, *self._sources(), *types]))[:12]

    def _sources(self) -> tuple[str, ...]:
        """Give the calls on which the failing statement depends, in the code that raised or else in the test."""
        for frame in reversed(self.frames):
            local = self.layout.local(frame.file)
            if local != self.failure.file and not (self.place and local == self.place.local):
                continue
            text = self.layout.read(frame.file)
            if text and frame.line:
                return _called_in_file(text, frame.line, frame.source)
            if frame.source:
                return introspect.called_for(frame.source)
        return ()

    def _make(
        self, kind: str, key: tuple[str, ...], pattern: str, *, firm: bool, extra: tuple[str, ...] = ()
    ) -> Fingerprint:
        message = self.raised.message.rstrip()
        cut = message.endswith("...") and "\n" not in message and not self.frames
        tokens = () if firm else tuple(self._tokens().items())
        return Fingerprint(
            self.failure,
            kind,
            key,
            firm,
            pattern,
            self._at(),
            (*self._files(), *extra),
            tokens,
            cut,
            self._about(),
        )

    def _about(self) -> str:
        """Give the one function that the failing statement calls, by its last name; empty if it calls several."""
        calls, _ = introspect.where_names(self.raised.message)
        first = next(iter((*self._sources(), *calls)), "")
        return first.rpartition(".")[2]

    def _files(self) -> tuple[str, ...]:
        """Give the project's files in the chain, from the raising one outward."""
        found: dict[str, None] = {}
        for raised in (self.raised, *self.failure.chain):
            for frame in reversed(raised.frames):
                if local := self.layout.local(frame.file):
                    found[local] = None
        return tuple(found)

    def _tokens(self) -> dict[str, float]:
        weights = about(self.failure.test, self.raised, self._sources())
        if self.place:
            weights[f"place:{self._at()}"] = 2.5
            name = f"call:{self.place.frame.function}"
            weights[name] = max(2.0, weights.get(name, 0.0))
        return weights


def _called_in_file(text: str, line: int, source: str) -> tuple[str, ...]:
    """Read the failing statement of a test file that is at hand."""
    lines = text.splitlines()
    if line > len(lines):
        return introspect.called_for(source) if source else ()
    start = line - 1
    indent = len(lines[start]) - len(lines[start].lstrip())
    while start > 0:
        candidate = lines[start]
        depth = len(candidate) - len(candidate.lstrip())
        if candidate.strip() and depth < indent and re.match(r"\s*(?:async )?def ", candidate):
            break
        start -= 1
    end = line
    while (
        end < len(lines)
        and end < line + 12
        and lines[end].strip()
        and len(lines[end]) - len(lines[end].lstrip()) > indent
    ):
        end += 1
    if end < len(lines) and lines[end].strip()[:1] in (")", "]", "}"):
        end += 1
    return introspect.called_for("\n".join(lines[start:end]), line - start)
