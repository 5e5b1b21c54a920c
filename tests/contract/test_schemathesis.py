"""The API keeps what its OpenAPI document promises, whatever is sent: schemathesis with all of its checks.

And it loses nothing meanwhile: what `POST /events` said was recorded stands in the log and in its stream at the end.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cos.backend.app import create_app, with_edge
from cos.runtime.server import ApiServer, bind

#: The same requests each time; another number here, or in the variable, tries others.
SEED = os.environ.get("COS_TEST_SEED", "20260131")
EXAMPLES = os.environ.get("COS_TEST_EXAMPLES", "2")
#: A stream has no end to wait for.
ENDLESS = r"^/(events/stream|ui/)"
#: What the document cannot say in JSON Schema (a filter that must name something, an address that is public, a title
#: that is taken, a null where a member may be left out) is refused with 400, 415 or 422 and a sentence; everything
#: else that is valid must be taken.
CONFIG = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 400, 401, 403, 404, 409, 415, 422, 429]
"""


class Witness:
    """Stands before the app and keeps what it answers to `POST /events`: which records, and how many."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.ids: set[str] = set()
        self.positions: set[str] = set()
        self.of_lines = 0
        self.requests = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or (scope["method"], scope["path"]) != ("POST", "/events"):
            self.requests += 1
            await self._app(scope, receive, send)
            return
        self.requests += 1
        body, status = bytearray(), 0

        async def heard(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)
            body.extend(message.get("body", b""))
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                self._keep(status, json.loads(body))
            await send(message)

        await self._app(scope, receive, heard)

    def _keep(self, status: int, said: Any) -> None:
        receipts = said.get("events") or ([said] if "id" in said else [])
        self.ids |= {one["id"] for one in receipts}
        if not receipts:  # of lines, also of those before one that was refused
            self.of_lines += said.get("recorded", 0)
            self.positions |= {said["last_position"]} if said.get("last_position") else set()
        assert not receipts or 200 <= status < 300


@pytest.fixture
async def witnessed(core: Any) -> AsyncIterator[tuple[str, Witness]]:
    """The app behind a real server and a witness; gives its address too."""
    witness = Witness(with_edge(create_app(core.services())))
    server = ApiServer(app=witness, listener=bind(0), stop_timeout_seconds=2)
    await server.start()
    yield server.url, witness
    await server.stop()


@pytest.fixture
def nothing_lost(core: Any, pg: Any, eventually: Any, stream_of: Any) -> Any:
    """Hold that all that was said to be recorded is in the log, and the whole log in its streams, each once."""

    async def check(witness: Witness) -> None:
        rows = await pg.fetch("SELECT id, module, xact::text || '-' || seq AS position FROM l1.record")
        logged = {str(row["id"]): row["position"] for row in rows}
        assert witness.ids <= logged.keys()
        assert witness.positions <= set(logged.values())
        assert len(logged) >= len(witness.ids) + witness.of_lines

        async def streamed() -> bool:
            modules = {row["module"] for row in await pg.fetch("SELECT DISTINCT module FROM l1.record")}
            entries = [entry for module in modules for entry in await stream_of(module)]
            found = [envelope["id"] for _, envelope in entries]
            assert len(found) == len(set(found)), "an event stands twice in its stream"
            return logged.items() <= {(envelope["id"], place) for place, envelope in entries}

        await eventually(streamed, seconds=60)

    return check


@pytest.mark.parametrize("phase", ["examples", "coverage", "fuzzing"])
async def test_the_api_keeps_its_document(witnessed, nothing_lost, tmp_path: Path, phase) -> None:
    """Nothing is found: no fault of the server, no undocumented status, header or shape, no bad input that is taken.

    And nothing is lost: each record that was answered for is in the log, and the log in its streams.
    """
    url, witness = witnessed
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG)
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).parent / "schemathesis",
        *("--config-file", str(config), "run", f"{url}/openapi.json", "--checks", "all", "--no-color"),
        *("--phases", phase, "--seed", SEED, "--max-examples", EXAMPLES, "--no-shrink"),
        *("--exclude-path-regex", ENDLESS, "--request-timeout", "20", "--continue-on-failure"),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()[-20_000:]
    print(f"{phase}: {witness.requests} requests, {len(witness.ids)} records, {witness.of_lines} of lines")  # noqa: T201
    assert witness.ids or int(EXAMPLES) < 50  # a few requests may all be bad ones
    await nothing_lost(witness)
