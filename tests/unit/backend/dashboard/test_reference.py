"""The API as people read it: outlines of schemas, and what an operation takes and gives."""

from __future__ import annotations

import pytest

from cos.backend.dashboard.reference import groups_of, outline

SHAPES = {
    "Leaf": {
        "type": "object",
        "required": ["n"],
        "properties": {"n": {"type": "integer", "description": "how many"}},
    },
    "Loop": {"type": "object", "properties": {"next": {"$ref": "#/components/schemas/Loop"}}},
}


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        ({}, "anything"),
        ({"type": "string", "format": "date-time"}, "string (date-time)"),
        ({"type": ["integer", "null"], "default": 3}, "integer or null = 3"),
        ({"enum": ["a", "b"]}, '"a" | "b"'),
        ({"const": 1}, "1"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "string\nor null"),
        ({"type": "array", "items": {"type": "string"}}, "list of string"),
        ({"$ref": "#/components/schemas/Leaf"}, "{\n  n: integer   how many\n}"),
        ({"type": "object", "properties": {"a": {}}}, "{\n  a?: anything\n}"),
    ],
)
def test_outlines(shape, text) -> None:
    assert outline(shape, SHAPES) == text


def test_a_shape_that_holds_itself_ends() -> None:
    assert outline({"$ref": "#/components/schemas/Loop"}, SHAPES).count("next?") == 6


def test_an_operation() -> None:
    operation = {
        "tags": ["events"],
        "operationId": "events_record",
        "description": "Record one.\n\nWhen it is durable.",
        "x-cos-scope": "write",
        "parameters": [{"name": "module", "in": "query", "schema": {"type": "string"}}],
        "requestBody": {"content": {"application/json": {"schema": {"type": "object"}, "example": {"a": 1}}}},
        "responses": {
            "201": {
                "description": "Recorded",
                "content": {"application/json": {"schema": {"type": "integer"}}},
            },
            "401": {"description": "as everywhere"},
            "422": {"description": "Bad", "content": {"application/problem+json": {"schema": {}}}},
        },
    }
    [(group, [one])] = groups_of({"paths": {"/events": {"post": operation}}})
    assert (group, one.anchor, one.method, one.path, one.scope) == (
        "events", "events_record", "POST", "/events", "write",
    )  # fmt: skip
    assert (one.summary, one.details) == ("Record one.", ["When it is durable."])
    assert one.parameters == [
        {"name": "module", "where": "query", "kind": "string", "required": False, "says": ""}
    ]
    assert one.takes == [("application/json", "object")]
    assert one.example == '{\n  "a": 1\n}'
    assert one.answers == [("201", "Recorded", "integer"), ("422", "Bad", "")]
