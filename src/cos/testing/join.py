"""Puts an application's own SQLAlchemy engine into a test's database, or into one transaction that is rolled back.

The application keeps its engine, its sessions and its commits. Inside `joined` every connection of the engine is one
and the same, and what the application takes for BEGIN, COMMIT and ROLLBACK is SAVEPOINT, RELEASE and ROLLBACK TO in a
transaction that only this module ends. It is done at the engine's dialect and pool, below Session and AsyncSession,
so nothing of them has to be replaced.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Self

from sqlalchemy import event
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.pool import StaticPool
from sqlalchemy.util import await_only, greenlet_spawn

from cos.errors import BadInput, Conflict

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from types import TracebackType

    from cos.testing.database import PostgresDatabase

_BASE: Final = "cos_base"
_MARK: Final = "cos_joined"
_IDENTITY: Final = frozenset(
    {"host", "hostaddr", "port", "user", "password", "passfile", "dbname", "database", "dsn", "service"}
)
_REPLACED: Final = ("do_begin", "do_commit", "do_rollback", "set_isolation_level", "reset_isolation_level")


def engine_of(thing: Any) -> Engine:
    """Find the engine behind an engine, an AsyncEngine, a session, a session maker or Flask-SQLAlchemy's `db`.

    Raises:
        BadInput: there is none behind it.
    """
    if isinstance(thing, Engine):
        return thing
    options = getattr(thing, "kw", None)
    for inner in (
        getattr(thing, "sync_engine", None),
        options.get("bind") if isinstance(options, dict) else None,
        getattr(thing, "session_factory", None),
        getattr(thing, "bind", None),
        _engine_attribute(thing),
    ):
        if inner is not None and inner is not thing:
            return engine_of(inner)
    raise BadInput(
        f"join() was given {thing!r}, behind which there is no engine: give it an engine, a session maker or a session."
    )


def _engine_attribute(thing: Any) -> Any:
    try:
        return getattr(thing, "engine", None)
    except RuntimeError as error:
        raise BadInput(
            f"The engine of {thing!r} is known only in an application context: with app.app_context(), give db.engine."
        ) from error


class OneConnection(StaticPool):
    """The pool of a joined engine: one connection, with the savepoints that stand for its open transactions."""

    #: The commit log tells by it that a commit on this engine is none.
    cos_rolled_back = True
    nest: list[tuple[int, str]]
    count: int
    began: bool
    loop: asyncio.AbstractEventLoop | None
    making: asyncio.Lock

    def _do_get(self) -> Any:
        if self._dialect.is_async:
            running = asyncio.get_running_loop()
            if self.__dict__.get("loop") is not running:
                # The connection of another loop cannot be used here; its keeper closes it with its loop.
                self.__dict__.pop("connection", None)
                self.loop = running
                self.making = asyncio.Lock()
                self.forget()
            # Two tasks that come first together must not make a connection each.
            await_only(self.making.acquire())
            try:
                return super()._do_get()
            finally:
                self.making.release()
        return super()._do_get()

    def forget(self) -> None:
        """Start with no transaction open."""
        self.nest = []
        self.count = 0
        self.began = False


class Savepoints:
    """What a joined engine's dialect does instead of beginning and ending transactions."""

    def __init__(self, pool: OneConnection) -> None:
        """Work on the one connection of `pool`."""
        self._pool = pool

    def do_begin(self, connection: Any) -> None:
        """Open a savepoint, and the transaction around all of them with the first one."""
        if not self._pool.began:
            self._pool.began = True
            _say(connection, f"SAVEPOINT {_BASE}")
        self._pool.count += 1  # a name that comes again would hide another's savepoint
        name = f"cos_{self._pool.count}"
        _say(connection, f"SAVEPOINT {name}")
        self._pool.nest.append((id(connection), name))

    def do_commit(self, connection: Any) -> None:
        """Release the savepoint; one below another's open savepoint stays, as releasing it would end the other's."""
        place = self._place(connection)
        if place is None:
            return
        _, name = self._pool.nest.pop(place)
        if place == len(self._pool.nest):
            _say(connection, f"RELEASE SAVEPOINT {name}")

    def do_rollback(self, connection: Any) -> None:
        """Go back to the savepoint, and with it whatever came after."""
        place = self._place(connection)
        if place is None:
            return
        name = self._pool.nest[place][1]
        del self._pool.nest[place:]
        _say(connection, f"ROLLBACK TO SAVEPOINT {name}")
        _say(connection, f"RELEASE SAVEPOINT {name}")

    def set_isolation_level(self, _connection: Any, level: str) -> None:
        """Leave AUTOCOMMIT aside, as all is one transaction here; refuse the others, which could not be honoured."""
        if level != "AUTOCOMMIT":
            raise Conflict(
                f"A test that is rolled back cannot change to the isolation level {level}: "
                'mark it with cos_isolation("commit").'
            )

    def reset_isolation_level(self, _connection: Any) -> None:
        """Leave it: it has never changed."""

    def _place(self, connection: Any) -> int | None:
        nest = self._pool.nest
        return next((place for place in reversed(range(len(nest))) if nest[place][0] == id(connection)), None)


class Joined:
    """An engine that has joined a test's database until `end`; a `with` or `async with` block ends it too."""

    def __init__(
        self,
        engine: Engine,
        *,
        database: PostgresDatabase,
        rolled_back: bool,
        kept: dict[Engine, OneConnection],
    ) -> None:
        """Let the engine join.

        Args:
            engine: of the application.
            database: where its connections go now.
            rolled_back: whether everything happens in one transaction that `end` rolls back.
            kept: connections of earlier tests, which save connecting anew.

        Raises:
            Conflict: the engine has joined already.
        """
        if getattr(engine.pool, _MARK, False):
            raise Conflict(f"{engine!r} has joined a test's database already: join it once a test.")
        self._engine = engine
        self._dialect: Any = engine.dialect
        self._database = database
        self._rolled_back = rolled_back
        self._before = engine.pool
        self._loops: list[asyncio.AbstractEventLoop] = []
        self._ended = False
        self._connecting = 0
        if rolled_back:
            self._pool: Any = kept.get(engine) or kept.setdefault(engine, self._one_connection())
            self._pool.forget()
            self._replace_transactions()
        else:
            self._pool = self._before.recreate()
            self._pool._creator = self._creator()  # noqa: SLF001  (the only place where a pool has it)
        setattr(self._pool, _MARK, True)
        engine.pool = self._pool

    def end(self) -> None:
        """Roll back, or close the connections to the clone, and let the engine be what it was.

        Raises:
            Conflict: the application really committed, past SQLAlchemy; or an async engine's loop is running here,
                then `aend` is needed.
        """
        if self._ended:
            return
        loop = self._open_loop()
        if loop is not None and loop.is_running():
            raise Conflict(
                "An async engine that joined in a running loop is ended by `async with`, not by `with`."
            )
        self._restore()
        if loop is not None:
            loop.run_until_complete(greenlet_spawn(self._finish))
        elif not self._dialect.is_async:
            self._finish()

    async def aend(self) -> None:
        """Do what `end` does, in the loop of an async engine.

        Raises:
            Conflict: the application really committed, past SQLAlchemy.
        """
        if self._ended:
            return
        self._restore()
        if self._dialect.is_async:
            await greenlet_spawn(self._finish)
        else:
            self._finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aend()

    def _one_connection(self) -> OneConnection:
        return OneConnection(
            self._creator(),
            reset_on_return=None,  # between tests this module resets it
            _dispatch=self._before.dispatch,
            dialect=self._dialect,
        )

    def _creator(self) -> Callable[..., Any]:
        made_by_engine = getattr(self._before._creator, "__qualname__", "").startswith("create_engine.")  # noqa: SLF001
        own: Any = self._before._invoke_creator  # noqa: SLF001

        def connect(record: Any) -> Any:
            if made_by_engine:
                connection = self._redirected(own, record)
            else:
                arguments, options = self._dialect.create_connect_args(make_url(self._url()))
                connection = self._dialect.connect(*arguments, **options)
            if self._dialect.is_async:
                if (running := asyncio.get_running_loop()) not in self._loops:
                    self._loops.append(running)
                record.info["kept"] = keeper = _close_with_loop(connection.driver_connection)
                await_only(keeper.__anext__())
            return connection

        return connect

    def _redirected(self, own: Callable[..., Any], record: Any) -> Any:
        """Let the engine connect as it does, but elsewhere; listening costs more than a query, so only meanwhile."""
        if not self._connecting:
            event.listen(self._engine, "do_connect", self._redirect)
        self._connecting += 1
        try:
            return own(record)
        finally:
            self._connecting -= 1
            if not self._connecting:
                event.remove(self._engine, "do_connect", self._redirect)

    def _redirect(self, _dialect: Any, _record: Any, arguments: list[Any], options: dict[str, Any]) -> None:
        """Exchange the place in what the engine connects with, and keep everything else that it asks for."""
        place, ours = self._dialect.create_connect_args(make_url(self._url()))
        arguments[:] = place
        for name in _IDENTITY & options.keys():
            del options[name]
        options.update({name: value for name, value in ours.items() if name in _IDENTITY})

    def _url(self) -> str:
        driver = f"{self._dialect.name}+{self._dialect.driver}"
        return self._database.url.replace("postgresql", driver, 1)

    def _replace_transactions(self) -> None:
        savepoints = Savepoints(self._pool)
        for name in _REPLACED:
            setattr(self._dialect, name, getattr(savepoints, name))

    def _restore(self) -> None:
        self._ended = True
        if self._rolled_back:
            for name in _REPLACED:
                delattr(self._dialect, name)
        self._engine.pool = self._before

    def _open_loop(self) -> asyncio.AbstractEventLoop | None:
        if not self._dialect.is_async:
            return None
        loops = [self._pool.__dict__.get("loop")] if self._rolled_back else self._loops
        return next((loop for loop in loops if loop is not None and not loop.is_closed()), None)

    def _finish(self) -> None:
        if not self._rolled_back:
            self._pool.dispose()
            return
        record = self._pool.__dict__.get("connection")
        if record is None or record.dbapi_connection is None or not self._pool.began:
            return
        self._pool.forget()
        connection = record.dbapi_connection
        try:
            # Fails when the transaction that this savepoint was in is no more.
            _say(connection, f"ROLLBACK TO SAVEPOINT {_BASE}")
        except self._dialect.dbapi.Error as error:
            if not getattr(connection, "closed", False) and "savepoint" in str(error).lower():
                connection.rollback()
                raise Conflict(
                    "The application committed on the driver's own connection, past SQLAlchemy, so this test could not "
                    'be rolled back: mark it with cos_isolation("commit").'
                ) from error
            # It was lost on the way (the server was stopped, say), and its transaction with it.
            record.invalidate(error)
            return
        connection.rollback()


async def _close_with_loop(connection: Any) -> AsyncGenerator[None]:
    """Close a connection when its loop ends: a loop finishes the generators that began in it."""
    try:
        yield
    finally:
        await connection.close()


def _say(connection: Any, statement: str) -> None:
    cursor = connection.cursor()
    try:
        cursor.execute(statement)
    finally:
        cursor.close()
