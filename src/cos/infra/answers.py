"""Asks a server on a unix socket whether it is ready, in a millisecond and without a client library."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_TIMEOUT_SECONDS = 2.0
_PROTOCOL_3_0 = 196_608


async def redis_answers(socket: Path) -> bool:
    """Tell whether Redis answers PING with PONG (it does not while it loads its file)."""
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            reader, writer = await asyncio.open_unix_connection(str(socket))
            try:
                writer.write(b"PING\r\n")
                return await reader.readline() == b"+PONG\r\n"
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False


async def postgres_answers(socket: Path, *, user: str, database: str) -> bool:
    """Tell whether Postgres takes a session for this user and database (it does not while it recovers)."""
    words = b"user\0" + user.encode() + b"\0database\0" + database.encode() + b"\0\0"
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            reader, writer = await asyncio.open_unix_connection(str(socket))
            try:
                writer.write(struct.pack("!ii", 8 + len(words), _PROTOCOL_3_0) + words)
                return await _ready_for_query(reader)
            finally:
                writer.write(b"X\0\0\0\4")
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return False


async def _ready_for_query(reader: asyncio.StreamReader) -> bool:
    while True:
        kind, length = struct.unpack("!ci", await reader.readexactly(5))
        if kind == b"E":
            return False
        await reader.readexactly(length - 4)
        if kind == b"Z":
            return True
