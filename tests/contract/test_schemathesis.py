"""The API keeps what its OpenAPI document promises, whatever is sent: schemathesis with all of its checks."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("phase", ["examples", "coverage", "fuzzing"])
async def test_the_api_keeps_its_document(served, tmp_path: Path, phase) -> None:
    """Nothing is found: no fault of the server, no undocumented status, header or shape, no bad input that is taken."""
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG)
    url = str(served.base_url).rstrip("/")
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
