"""Reads one printed traceback, in any of pytest's styles, into its exception chain."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from cos.green.failure import Frame, Link, Raised

_CAUSE = "The above exception was the direct cause of the following exception:"
_CONTEXT = "During handling of the above exception, another exception occurred:"
_SHORT = re.compile(r"^(?P<file>(?:[A-Za-z]:)?[^\s:][^:\n]*):(?P<line>\d+): in (?P<function>\S.*)$")
_LONG = re.compile(r"^(?P<file>(?:[A-Za-z]:)?[^\s:>][^:\n]*\.\w+|<[^>]+>):(?P<line>\d+): ?(?P<rest>.*)$")
_NATIVE = re.compile(r'^\s*File "(?P<file>[^"]+)", line (?P<line>\d+)(?:, in (?P<function>.+))?$')
_TYPED = re.compile(r"^(?P<type>[A-Za-z_][\w.]*)(?:: ?(?P<message>.*))?$", re.DOTALL)
_DEF = re.compile(r"^\s*(?:async )?def (?P<name>\w+)\(")
_GROUP_RAIL = re.compile(r"^ {2,}(?:\| ?|\+ (?=Exception Group))")
_MEMBER = re.compile(r"^ *\+-\+?-* \d+ -+$|^ *\+-+ \d+ -+$")
_MEMBERS_END = re.compile(r"^ *\+-+$")
_FIXTURE = re.compile(r"^fixture '[^']+' not found")
_SYNTAX = re.compile(r"^\s*(SyntaxError|IndentationError|TabError): ")
_EXCEPTION_LIKE = re.compile(
    r"(?:Error|Exception|Warning|Exit|Interrupt|Failed|Failure|Timeout|TimeoutExpired|Iteration|Group|Empty|Full"
    r"|DoesNotExist|NotFound|Refused|Cancelled|Aborted|Denied|Invalid|Missing|Conflict|Skipped|Closed)$"
)


@dataclass(slots=True)
class _Open:
    """The exception that is being read."""

    type: str = ""
    said: list[str] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    member: bool = False

    def close(self, link: Link) -> Raised | None:
        kind, message = split_message("\n".join(self.said), self.type)
        if not kind and not message and not self.frames:
            return None
        return Raised(
            kind or "AssertionError", message, tuple(self.frames), "member" if self.member else link
        )


def split_message(text: str, known_type: str = "") -> tuple[str, str]:
    """Split `Type: message` as an exception prints itself.

    Args:
        text: what the exception said, perhaps over several lines.
        known_type: the type, if another line named it.

    Returns:
        The type (empty if none shows) and the message.
    """
    text = text.strip("\n").rstrip()
    if _FIXTURE.match(text) or text.startswith("recursive dependency involving fixture"):
        return "FixtureLookupError", text.splitlines()[0]
    last = text.rpartition("\n")[2]
    if text.lstrip().startswith('File "') and (syntax := _SYNTAX.match(last)):
        return syntax[1], text
    if known_type:
        return known_type, text.removeprefix(known_type + ":").lstrip() if text != known_type else ""
    if text.startswith("assert ") or text == "assert":
        return "AssertionError", text
    first, newline, rest = text.partition("\n")
    match = _TYPED.match(first)
    if match is None or not _names_a_type(match["type"], bare=match["message"] is None):
        return "", text
    return match["type"], (match["message"] or "") + newline + rest


def _names_a_type(name: str, *, bare: bool) -> bool:
    last = name.rpartition(".")[2]
    if _EXCEPTION_LIKE.search(last):
        return True
    return not bare and ("." in name or (last[:1].isupper() and not last.isupper())) and last[:1].isalpha()


def parse_traceback(lines: list[str]) -> tuple[Raised, ...]:
    """Read the lines of one traceback (long, short, native, line or auto style; groups too).

    Args:
        lines: without colours and without captured output.

    Returns:
        The chain from its root to the outermost exception; empty if nothing was recognised.
    """
    reader = _Reader()
    for line in lines:
        reader.take(line)
    return reader.finish()


class _Reader:
    """The state between two lines."""

    def __init__(self) -> None:
        self.chain: list[Raised] = []
        self.members: list[Raised] = []
        self.open = _Open()
        self.function = ""
        self.source = ""
        self.indent: int | None = None
        self.native = False
        self.in_message = False
        self.awaits_source = False

    def take(self, raw: str) -> None:
        line = raw.rstrip()
        if _MEMBER.match(line):
            self._close("member")
            self.open.member = True
            return
        if _MEMBERS_END.match(line):
            return
        if _GROUP_RAIL.match(line):
            line = line.lstrip(" ").removeprefix("|").removeprefix("+").removeprefix(" ")
            while _GROUP_RAIL.match(line):
                line = line.lstrip(" ").removeprefix("|").removeprefix("+")[1:]
        bare = line.strip()
        if bare.startswith("_ _ _ "):
            self.function = self.source = ""
            self.awaits_source = False
        elif bare in (_CAUSE, _CONTEXT):
            self._close("cause" if bare == _CAUSE else "context")
        elif line.startswith("E") and (len(line) == 1 or line[1] in " \t"):
            self._said(line[1:])
        elif bare.startswith(("Traceback (most recent call last)", "Exception Group Traceback")):
            self.native = True
        else:
            self._place(line)

    def _place(self, line: str) -> None:
        if native := _NATIVE.match(line):
            self.native = True
            self.in_message = False
            self.open.frames.append(
                Frame(native["file"], int(native["line"]), (native["function"] or "").rpartition(".")[2])
            )
            self.awaits_source = True
        elif short := _SHORT.match(line):
            self.open.frames.append(Frame(short["file"], int(short["line"]), short["function"]))
            self.awaits_source = True
        elif (long := _LONG.match(line)) and not self.native:
            self._long(long)
        elif self.awaits_source and line.startswith("    "):
            self.awaits_source = False
            last = self.open.frames[-1]
            self.open.frames[-1] = Frame(last.file, last.line, last.function, line.strip())
        elif line.startswith((">", "    ")) and not self.native:
            self._shown(line)
        elif self.native:
            self._native_message(line)

    def _shown(self, line: str) -> None:
        """Take a line of source as the long style shows it; what stands after the failing statement is not shown."""
        if (definition := _DEF.match(line)) and not self.function:
            self.function = definition["name"]
            self.source = ""  # decorators, or what was left of the entry before
        self.source += " " * (line[0] == ">") + line.removeprefix(">") + "\n"

    def _long(self, match: re.Match[str]) -> None:
        """Take the line that ends an entry in the long style, or all there is in the line style."""
        rest = match["rest"].strip()
        self.open.frames.append(Frame(match["file"], int(match["line"]), self.function, self.source.rstrip()))
        kind, message = split_message(rest)
        if rest and not self.open.said and (message or not kind):
            self.open.said.append(rest)
        elif kind and not message and not self._says(kind):
            self.open.type = self.open.type or self._type_by_end(kind)
        self.function = self.source = ""

    def _says(self, kind: str) -> bool:
        said = self.open.said
        return bool(said) and split_message("\n".join(said))[0].rpartition(".")[2] == kind

    def _type_by_end(self, kind: str) -> str:
        """Keep the longer name where the E lines begin with it, since an entry ends with the short one."""
        said = self.open.said[0] if self.open.said else ""
        match = _TYPED.match(said)
        if match and match["type"].rpartition(".")[2] == kind:
            return match["type"]
        return kind

    def _said(self, text: str) -> None:
        self.awaits_source = False
        if self.indent is None:
            self.indent = len(text) - len(text.lstrip())
        lead = text[: self.indent]
        self.open.said.append(text[self.indent :] if not lead.strip() else text.lstrip())

    def _native_message(self, line: str) -> None:
        if self.in_message:
            if line:
                self.open.said.append(line)
            return
        if not line or line[0] in " \t":
            return
        kind, _ = split_message(line)
        if kind and (self.open.frames or self.open.member):
            self.in_message = True
            self.open.said.append(line)

    def _close(self, link: Link) -> None:
        member = self.open.member
        raised = self.open.close(link)
        if raised is not None:
            (self.members if member or link == "member" else self.chain).append(raised)
        self.open = _Open(member=member and link != "")
        self.indent = None
        self.in_message = False

    def finish(self) -> tuple[Raised, ...]:
        self._close("")
        if not self.members:
            return tuple(self.chain)
        outer, *inner = self.members
        if not inner:
            return (*self.chain, outer)
        # the root of a group is its first leaf; the group itself is what the test saw
        return (*inner, *self.chain, Raised(outer.type, outer.message, outer.frames))
