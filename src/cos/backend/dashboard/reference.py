"""What `/docs` shows: the OpenAPI document for people, without a script and without the network."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

_SHOWN_ELSEWHERE = frozenset({"401", "403", "429"})
_DEEPEST = 6


@dataclass(frozen=True, slots=True)
class Operation:
    """One route as it is read: of what it takes and gives, outlines as indented text."""

    anchor: str
    method: str
    path: str
    scope: str
    summary: str
    details: list[str]
    parameters: list[dict[str, Any]]
    takes: list[tuple[str, str]]
    example: str
    answers: list[tuple[str, str, str]]


def groups_of(document: dict[str, Any]) -> list[tuple[str, list[Operation]]]:
    """Give the operations by the feature that they belong to, in the document's order.

    Args:
        document: of OpenAPI 3.1, as the app describes itself.
    """
    shapes = document.get("components", {}).get("schemas", {})
    found: dict[str, list[Operation]] = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            group = (operation.get("tags") or ["cos"])[0]
            found.setdefault(group, []).append(_operation(method.upper(), path, operation, shapes))
    return sorted(found.items())


def _operation(method: str, path: str, operation: dict[str, Any], shapes: dict[str, Any]) -> Operation:
    first, *more = (operation.get("description") or operation.get("summary") or "").split("\n\n")
    contents = operation.get("requestBody", {}).get("content", {})
    takes = [(kind, outline(one.get("schema", {}), shapes)) for kind, one in contents.items()]
    return Operation(
        anchor=operation.get("operationId", f"{method}-{path}"),
        method=method,
        path=path,
        scope=operation.get("x-cos-scope", ""),
        summary=first,
        details=more,
        parameters=[
            {
                "name": one["name"],
                "where": one["in"],
                "kind": outline(one.get("schema", {}), shapes),
                "required": one.get("required", False),
                "says": one.get("description", ""),
            }
            for one in operation.get("parameters", [])
        ],
        takes=takes,
        example=_example(contents),
        answers=[
            (status, answer.get("description", ""), _given(answer, shapes))
            for status, answer in operation.get("responses", {}).items()
            if status not in _SHOWN_ELSEWHERE
        ],
    )


def _given(answer: dict[str, Any], shapes: dict[str, Any]) -> str:
    for kind, one in answer.get("content", {}).items():
        if kind == "application/problem+json":
            return ""  # the same for all, told once
        return outline(one["schema"], shapes) if one.get("schema") else ""
    return ""


def _example(contents: dict[str, Any]) -> str:
    for one in contents.values():
        for example in (
            one.get("example"),
            *(more.get("value") for more in one.get("examples", {}).values()),
        ):
            if example is not None:
                return json.dumps(example, indent=2, ensure_ascii=False)
    return ""


def outline(shape: dict[str, Any], shapes: dict[str, Any], *, depth: int = 0) -> str:
    """Write a JSON schema as indented text: a member a line, with its type and what it says.

    Args:
        shape: the schema.
        shapes: the named ones, by name.
        depth: how deep it stands; what is deeper than anybody reads is left out.
    """
    if "$ref" in shape:
        name = shape["$ref"].rpartition("/")[2]
        return name if depth >= _DEEPEST else outline(shapes.get(name, {}), shapes, depth=depth)
    for several in ("oneOf", "anyOf"):
        if several in shape:
            each = [outline(one, shapes, depth=depth) for one in shape[several]]
            return f"\n{'  ' * depth}or ".join(dict.fromkeys(each))
    if shape.get("properties"):
        required = shape.get("required", ())
        pad = "  " * (depth + 1)
        lines = [
            f"{pad}{name}{'' if name in required else '?'}: {outline(one, shapes, depth=depth + 1)}{_said(one)}"
            for name, one in shape["properties"].items()
        ]
        return "\n".join(["{", *lines, f"{'  ' * depth}}}"])
    if shape.get("type") == "array":
        return f"list of {outline(shape.get('items', {}), shapes, depth=depth)}"
    return _plain(shape)


def _plain(shape: dict[str, Any]) -> str:
    if "const" in shape:
        return json.dumps(shape["const"])
    if "enum" in shape:
        return " | ".join(json.dumps(one) for one in shape["enum"])
    kind = shape.get("type", "anything")
    kind = " or ".join(kind) if isinstance(kind, list) else kind
    form = f" ({shape['format']})" if "format" in shape else ""
    default = f" = {json.dumps(shape['default'])}" if "default" in shape else ""
    return f"{kind}{form}{default}"


def _said(shape: dict[str, Any]) -> str:
    text = " ".join(str(shape.get("description", "")).split())
    return f"   {text}" if text and "properties" not in shape else ""
