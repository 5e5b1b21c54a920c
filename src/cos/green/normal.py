"""Brings messages into a form in which two occurrences of one error are equal: values go, identifiers stay."""

from __future__ import annotations

import re

_EMBEDDED = re.compile(
    r"(?:[Oo]riginal (?:exception|error)(?: was)?|[Cc]aused by|[Rr]oot cause|[Nn]ested exception is"
    r"|[Uu]nderlying (?:exception|error))"
    r"\s*:\s*(?P<root>\S.*)",
    re.DOTALL,
)
_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\x00"), ""),
    (
        re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", re.IGNORECASE),
        "<uuid>",
    ),
    (re.compile(r"\b0x[0-9a-fA-F]+\b"), "<at>"),
    (
        re.compile(r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?\b"),
        "<time>",
    ),
    (re.compile(r"\b\d\d:\d\d:\d\d(?:[.,]\d+)?\b"), "<time>"),
    (re.compile(r"\b[\w.+-]+@[\w-]+\.[\w.]+\b"), "<mail>"),
    (re.compile(r"\bhttps?://[^\s'\"]+"), "<url>"),
    (re.compile(r"(?:/(?:tmp|var/folders|private)/[^\s'\":,)]*)"), "<tmp>"),
    (re.compile(r"(?:[A-Za-z]:)?(?:[/\\][\w.@+-]+){2,}[/\\](?=[\w.@+-])"), ""),
    (re.compile(r"\b[0-9a-f]{12,}\b", re.IGNORECASE), "<hash>"),
    (re.compile(r"(?<![\w.])[-+]?\d+(?:[._]\d+)*(?:e[-+]?\d+)?", re.IGNORECASE), "#"),
)
_QUOTED = re.compile(r"'([^'\n]*)'|\"([^\"\n]*)\"|`([^`\n]*)`")
_IDENTIFIER = re.compile(r"^[A-Za-z_][\w.:-]*$")
_FIRM_IDENTIFIER = re.compile(r"[A-Za-z\d]_[A-Za-z\d]|[a-z][A-Z]|\w\.[A-Za-z_]|^[A-Z][A-Z_\d]{3,}$|^_")
_BLANK = re.compile(r"\s+")
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")


def embedded_root(message: str) -> str | None:
    """Give the inner message where a wrapper quotes its cause ("Original exception was: …"), else None."""
    match = None
    for found in _EMBEDDED.finditer(message):
        match = found
    return match["root"].strip() if match else None


def template(message: str, *, keep: str = "identifiers") -> str:
    """Give the message with its values taken out.

    Args:
        message: one or several lines.
        keep: which quoted parts stay: all `identifiers`, only `firm` ones (that no data would look like), or `none`.

    Returns:
        One line of at most 300 characters.
    """

    def quoted(match: re.Match[str]) -> str:
        inside = next(group for group in match.groups() if group is not None)
        if keep == "none" or not _IDENTIFIER.match(inside):
            return "'…'"
        return f"'{inside}'" if keep == "identifiers" or _FIRM_IDENTIFIER.search(inside) else "'…'"

    text = message[:2000]
    for pattern, instead in _RULES[:-1]:
        text = pattern.sub(instead, text)
    text = _QUOTED.sub(quoted, text)
    pattern, instead = _RULES[-1]
    return _BLANK.sub(" ", pattern.sub(instead, text)).strip()[:300]


def identifiers(message: str) -> list[str]:
    """Give the quoted identifiers of a message in order."""
    found = (
        next(group for group in match.groups() if group is not None) for match in _QUOTED.finditer(message)
    )
    return [inside for inside in found if _IDENTIFIER.match(inside)]


def words(text: str) -> list[str]:
    """Split names into their words in lower case: `RedisPubSub.get_all` gives redis, pub, sub, get, all."""
    return [word.lower() for word in _WORD.findall(text) if len(word) > 1]
