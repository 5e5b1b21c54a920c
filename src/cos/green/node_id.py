"""Node ids of pytest: where one ends in a summary line, and its parts; parameters may hold anything."""

from __future__ import annotations

import re

_HEAD = re.compile(r"^(?P<path>[^\n]*?\.[A-Za-z]\w*)(?=::| - |$)|^(?P<folder>[\w./\\-]+)(?= - |$)")
_PART = re.compile(r"::(?P<name>[^\[\n]*?)(?=::|\[| - |$)")
_FILE = re.compile(r"\.(?:py|pyx|txt|rst|md|ya?ml|feature|ipynb|robot|json|toml)$")


def split_summary(text: str, known: frozenset[str] = frozenset()) -> tuple[str, str] | None:
    """Split `node id - message`, what follows FAILED or ERROR in a summary line.

    Args:
        text: the line without its first word.
        known: node ids met elsewhere in the log; the longest of them that fits wins.

    Returns:
        The node id and the message (empty if there is none), or None where the text does not begin with a node id.
    """
    cut = text.rfind(" - ")
    while known and cut > 0:  # also finds ids whose parameters hold " - "
        if text[:cut] in known:
            return text[:cut], text[cut + 3 :]
        cut = text.rfind(" - ", 0, cut)
    if text in known:
        return text, ""
    head = _HEAD.match(text)
    if head is None:
        return None
    end = head.end()
    if not text.startswith("::", end) and not _FILE.search(text[:end]) and "/" not in text[:end]:
        return None
    while part := _PART.match(text, end):
        end = part.end()
        if text.startswith("[", end):
            end = _end_of_parameters(text, end)
            break
    rest = text[end:]
    if rest and not rest.startswith(" - "):
        return None
    return text[:end], rest[3:]


def _end_of_parameters(text: str, start: int) -> int:
    """Find the bracket that ends the parameters: the first one before ` - ` or at the end of the line."""
    at = text.find("]", start)
    while at >= 0:
        if at + 1 == len(text) or text.startswith(" - ", at + 1):
            return at + 1
        at = text.find("]", at + 1)
    return len(text)


def split(node_id: str) -> tuple[str, list[str], str]:
    """Give the file, the names of classes and function, and the parameters (empty if there are none)."""
    plain, bracket, parameters = node_id.partition("[")
    file, *names = plain.split("::")
    return file, names, parameters.removesuffix("]") if bracket else ""


def heading(node_id: str) -> str:
    """Give the name under which pytest prints the test's traceback, e.g. `TestA.test_b[x]`."""
    plain, bracket, parameters = node_id.partition("[")
    _, _, names = plain.partition("::")
    return names.replace("::", ".") + bracket + parameters


def without_parameters(node_id: str) -> str:
    """Give the node id of the function itself."""
    return node_id.partition("[")[0]
