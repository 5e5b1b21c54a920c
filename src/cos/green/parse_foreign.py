"""Reads the stack traces of other languages' test runners (Java, JavaScript, Go) as JUnit XML has them."""

from __future__ import annotations

import re

from cos.green.failure import Frame, Raised

_FRAME = re.compile(
    r"^\s*at (?:(?P<function>[\w$.<>\[\] /-]+?) ?)?\(?(?P<file>[^():\s]+):(?P<line>\d+)(?::\d+)?\)?\s*$"
    r"|^\s+(?P<gofile>[\w./-]+\.go):(?P<goline>\d+)"
)
_CAUSED = re.compile(r"^\s*(?:Caused by|\[cause\]):? (?P<what>.+)$")
_TYPED = re.compile(
    r"^(?P<type>[A-Za-z_$][\w$.]*(?:Error|Exception|Failure|Failed|Throwable)\w*)(?:: ?(?P<message>.*))?$"
)


def parse_foreign(text: str, kind: str, message: str) -> tuple[Raised, ...]:
    """Read a stack trace that is not Python's.

    Args:
        text: the body of the failure.
        kind: the type that the record names, if any.
        message: the message that the record names, if any.

    Returns:
        The chain from its root to the outermost; `kind` and `message` win for the outermost.
    """
    chain: list[tuple[str, str, list[Frame]]] = [(kind, message, [])]
    for number, line in enumerate(text.splitlines()):
        caused = _CAUSED.match(line)
        typed = _TYPED.match(caused["what"] if caused else line)
        if caused:
            chain.append((typed["type"], typed["message"] or "", []) if typed else ("", caused["what"], []))
        elif frame := _FRAME.match(line):
            file, at = frame["file"] or frame["gofile"], frame["line"] or frame["goline"]
            chain[-1][2].append(Frame(file, int(at), frame["function"] or ""))
        elif number == 0 and typed and not kind:
            chain[0] = (typed["type"], message or typed["message"] or "", chain[0][2])
        elif number == 0 and not message:
            chain[0] = (chain[0][0], line.strip(), chain[0][2])
    # these print the raising frame first, Python the last
    return tuple(
        Raised(name, said, tuple(reversed(frames)), "cause" if at < len(chain) - 1 else "")
        for at, (name, said, frames) in enumerate(reversed(chain))
    )
