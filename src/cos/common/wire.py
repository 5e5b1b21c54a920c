"""One connection to Redis of its own, for who sends several commands a round or waits in one: raw answers, no pool."""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio import Redis

Command = tuple[Any, ...]

#: How much longer than a command may block its answer may take, in seconds.
ANSWER_SECONDS = 5.0


class Wire:
    """A connection made when first used, and again after it was lost; one caller at a time.

    Answers come as Redis gave them: bytes, numbers, lists. Whatever goes wrong in mid-command, a cancellation too,
    closes the connection, so that the answer to one command can never be taken for that of another.
    """

    def __init__(self, *, redis: Redis, prelude: Sequence[Command] = ()) -> None:
        """Take the client whose address and credentials are used.

        Args:
            redis: the client.
            prelude: commands that each new connection begins with.
        """
        self._redis = redis
        self._prelude = prelude
        self._connection: Any = None

    async def close(self) -> None:
        """Close the connection, if it is open."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(RedisError, OSError):
                await connection.disconnect(nowait=True)

    async def call(self, *command: Any, block_seconds: float = 0.0) -> Any:
        """Send one command and give its answer.

        Args:
            *command: its words.
            block_seconds: how long the server may keep us waiting.

        Raises:
            ResponseError: Redis refused it.
            RedisError, OSError: the connection was lost; the command may or may not have been carried out.
        """
        return _raised((await self._exchange([command], block_seconds))[0])

    async def transact(self, commands: Sequence[Command]) -> list[Any]:
        """Carry out some commands as one (MULTI, EXEC); an error of one of them stands in its place.

        Raises:
            ResponseError: Redis took none of them.
            RedisError, OSError: as `call` does.
        """
        *queued, answers = await self._exchange([("MULTI",), *commands, ("EXEC",)], 0.0)
        if isinstance(answers, Exception):
            for answer in queued:
                _raised(answer)  # says more than that the transaction was given up
            raise answers
        given: list[Any] = answers
        return given

    async def _exchange(self, commands: Sequence[Command], block_seconds: float) -> list[Any]:
        try:
            async with asyncio.timeout(block_seconds + ANSWER_SECONDS):
                connection = self._connection
                if connection is None:
                    pool: Any = self._redis.connection_pool
                    connection = self._connection = pool.make_connection()
                    await connection.connect()
                    if self._prelude:
                        await connection.send_packed_command(connection.pack_commands(self._prelude))
                        for _ in self._prelude:
                            _raised(await self._answer(connection))
                await connection.send_packed_command(connection.pack_commands(commands))
                return [await self._answer(connection) for _ in commands]
        except TimeoutError:
            await self.close()
            raise RedisTimeoutError(f"no answer within {block_seconds + ANSWER_SECONDS:g} s") from None
        except BaseException:
            await self.close()
            raise

    @staticmethod
    async def _answer(connection: Any) -> Any:
        try:
            return await connection.read_response(timeout=math.inf)  # the time is limited around all of them
        except ResponseError as refused:
            return refused


def _raised(answer: Any) -> Any:
    if isinstance(answer, Exception):
        raise answer
    return answer
