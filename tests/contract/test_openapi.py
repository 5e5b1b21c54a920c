"""The OpenAPI document: every route, every shape, and nothing that no route answers with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

import cos
from cos.common.messages import Envelope

METHODS = {"get", "post", "put", "patch", "delete"}
#: What existing clients rely on; docs/http-api.md tells all, and is written from this document.
ROUTES = {
    ("get", "/metrics"),
    ("get", "/cc/health"),
    ("get", "/cc/system/health"),
    ("get", "/cc/metrics"),
    ("post", "/cc/ping"),
    ("get", "/cc/debug/redis-health"),
    ("post", "/cc/mem0/scratch/notes"),
    ("get", "/cc/mem0/scratch/notes"),
    ("get", "/cc/mem0/scratch/notes/{note_id}"),
    ("put", "/cc/mem0/scratch/notes/{note_id}"),
    ("delete", "/cc/mem0/scratch/notes/{note_id}"),
    ("get", "/cc/mem0/scratch/notes/key/{key}"),
    ("get", "/cc/mem0/scratch/stats"),
    ("post", "/cc/mem0/scratch/cleanup"),
    ("post", "/cc/mem0/scratch/cleanup/background"),
    ("post", "/cc/mem0/scratch/stats/background"),
    ("get", "/health"),
    ("get", "/ready"),
    ("post", "/events"),
    ("get", "/events"),
    ("get", "/events/{event_id}"),
    ("get", "/cc/status"),
    ("get", "/cc/config"),
    ("get", "/cc/health/enhanced"),
    ("post", "/cc/debug/log"),
    ("post", "/cc/modules"),
    ("get", "/cc/modules"),
    ("get", "/cc/modules/{module_id}"),
    ("patch", "/cc/modules/{module_id}"),
    ("delete", "/cc/modules/{module_id}"),
    ("post", "/cc/tokens"),
    ("get", "/cc/tokens"),
    ("get", "/cc/tokens/{which}"),
    ("delete", "/cc/tokens/{which}"),
    ("get", "/cc/dead-letters"),
    ("delete", "/cc/dead-letters"),
    ("post", "/cc/dead-letters/requeue"),
    ("get", "/cc/dead-letters/{letter_id}"),
    ("delete", "/cc/dead-letters/{letter_id}"),
    ("post", "/cc/dead-letters/{letter_id}/requeue"),
    ("get", "/cc/groups"),
    ("get", "/cc/groups/{name}"),
    ("delete", "/cc/groups/{name}"),
    ("get", "/cc/projections"),
    ("get", "/cc/projections/{name}"),
    ("post", "/cc/projections/{name}/pause"),
    ("post", "/cc/projections/{name}/resume"),
    ("post", "/cc/projections/{name}/rebuild"),
}


@pytest.fixture(scope="module")
async def document(steady) -> dict[str, Any]:
    return (await steady.get("/openapi.json")).json()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


class TestDocument:
    """Its form, by the rules of OpenAPI 3.1 that tools trip over."""

    async def test_head(self, document) -> None:
        assert document["openapi"].startswith("3.1.")
        assert document["info"]["title"] == "COS"
        assert document["info"]["version"] == cos.__version__

    async def test_every_reference_leads_somewhere(self, document) -> None:
        """And every shape is used."""
        used = set(references(document))
        there = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
        assert used == there

    async def test_every_operation_is_whole(self, document) -> None:
        """A name of its own, a sentence, its path parameters, and a description with each answer."""
        names = [operation["operationId"] for _, _, operation in operations(document)]
        assert len(names) == len(set(names))
        for method, path, operation in operations(document):
            assert method in METHODS
            assert operation["summary"]
            assert operation["description"]
            asked = {one["name"] for one in operation.get("parameters", []) if one["in"] == "path"}
            assert asked == set(re.findall(r"{(\w+)}", path))
            assert all(one["description"] for one in operation["responses"].values())

    async def test_every_route_is_there(self, document) -> None:
        assert {(method, path) for method, path, _ in operations(document)} >= ROUTES


class TestAnswers:
    """What the routes answer with."""

    async def test_failures_are_problems(self, document) -> None:
        """Each failure is a problem document, the unforeseen too; /ready alone keeps its shape when down."""
        for method, path, operation in operations(document):
            for status, answer in operation["responses"].items():
                if status.startswith("2") or (path, status) == ("/ready", "503"):
                    continue
                schema = answer["content"]["application/problem+json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/Problem"}, (method, path, status)
                assert list(answer["content"]) == ["application/problem+json"]
            assert "default" in operation["responses"]

    async def test_good_answers_have_a_shape(self, document) -> None:
        for method, path, operation in operations(document):
            for status, answer in operation["responses"].items():
                if status.startswith("2") and not path.endswith(("/metrics", "/stream")):
                    assert answer["content"]["application/json"]["schema"], (method, path, status)

    async def test_the_problem(self, document) -> None:
        shape = document["components"]["schemas"]["Problem"]
        assert {"type", "title", "status", "detail"} <= set(shape["required"])
        assert shape["properties"]["detail"]["type"] == "string"

    async def test_the_envelope_is_described_member_by_member(self, document) -> None:
        """The hand-made shape has exactly the members of the envelope, and the prompt of a single event."""
        shape = document["components"]["schemas"]["Envelope"]
        assert set(shape["properties"]) == {*Envelope.__struct_fields__, "prompt"}

    async def test_real_answers_fit(self, steady, document) -> None:
        """The required members of each shape are there in what the routes really answer."""
        shapes = document["components"]["schemas"]
        one = await steady.post("/events", json={"type": "fits"})
        lines = await steady.post(
            "/events", content=b'{"type": "fits"}\n', headers={"content-type": "application/x-ndjson"}
        )
        event = (await steady.get(one.headers["location"])).json()
        page = (await steady.get("/events")).json()
        missing = (await steady.get("/nowhere")).json()
        health = (await steady.get("/cc/health/enhanced")).json()
        for name, found in {
            "Receipt": one.json(),
            "StreamReceipt": lines.json(),
            "Envelope": event,
            "Page": page,
            "Problem": missing,
            "EnhancedHealth": health,
        }.items():
            assert set(shapes[name].get("required", ())) <= set(found), name
            if shapes[name].get("additionalProperties") is not True:
                assert set(found) <= set(shapes[name]["properties"]), name

    async def test_the_page_that_shows_it(self, steady) -> None:
        """Every operation, from here alone: nothing that another host or an inline script would have to bring."""
        answer = await steady.get("/docs")
        assert answer.headers["content-type"].startswith("text/html")
        assert "/openapi.json" in answer.text
        document = (await steady.get("/openapi.json")).json()
        for path, item in document["paths"].items():
            for method, operation in item.items():
                assert f'id="{operation["operationId"]}"' in answer.text, (method, path)
        assert not re.search(r'(src|href)="(https?:)?//|<script>|<style|\sstyle=|\son\w+=', answer.text)
