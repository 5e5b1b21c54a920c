"""Serves webhooks until it is killed; a program of its own for the tests that kill it."""

from __future__ import annotations

import asyncio
import sys

from cos.common.addresses import Allowance
from cos.memory.webhooks.endpoint import Policy
from cos.runtime.webhooks import Webhooks


async def main(database_url: str, lease_seconds: str) -> None:
    """Serve, with short pauses, and say so."""
    policy = Policy(retry_seconds=(0.05,) * 5, lease_seconds=float(lease_seconds))
    async with Webhooks(database_url=database_url, policy=policy, allowance=Allowance.parse("127.0.0.0/8")):
        sys.stdout.write("serving\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))
