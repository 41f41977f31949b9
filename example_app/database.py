"""Engine, sessions and transactions, for SQLite and PostgreSQL."""

import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from quart import current_app
from sqlalchemy import URL, Connection, event, make_url, text
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)

from example_app.tables import Base

ASYNC_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
}
BUSY_TIMEOUT = 10_000  # milliseconds that SQLite waits for another writer
STARTUP_LOCK = 0x63686174  # any number, as long as every worker takes the same one


class Database:
    """One application's database; connects when first used.

    A transaction says beforehand whether it will write. SQLite needs to know: one that begins by
    reading can't become a writer once somebody else has written, and no time-out helps it.
    """

    def __init__(self, url: str) -> None:
        self._engine = create_async_engine(async_url(url))
        if self._engine.dialect.name == "sqlite":
            _set_up_sqlite(self._engine)
        writer = self._engine.execution_options(sqlite_begin="IMMEDIATE")
        self._reading = async_sessionmaker(self._engine, expire_on_commit=False)
        self._writing = async_sessionmaker(writer, expire_on_commit=False)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """Open a session for queries only."""
        async with self._reading() as session:
            yield session

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncSession]:
        """Open a session for changes: committed at the end, rolled back on an exception."""
        async with self._writing.begin() as session:
            yield session

    @asynccontextmanager
    async def starting(self) -> AsyncIterator[AsyncSession]:
        """Create missing tables, then open a session for changes while other workers wait.

        Workers start at the same moment, and "create the table unless it's there" is two steps.
        On SQLite any writer keeps the others out, PostgreSQL needs a lock of its own.
        """
        async with self.writing() as session:
            if self._engine.dialect.name == "postgresql":
                await session.execute(
                    text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": STARTUP_LOCK}
                )
            connection = await session.connection()
            await connection.run_sync(Base.metadata.create_all)
            yield session

    async def close(self) -> None:
        """Close every connection; using the database again opens new ones."""
        await self._engine.dispose()


def reading() -> AbstractAsyncContextManager[AsyncSession]:
    """Open a session for queries on the current app's database."""
    return current_app.extensions["CHAT_DATABASE"].reading()


def writing() -> AbstractAsyncContextManager[AsyncSession]:
    """Open a session for changes on the current app's database."""
    return current_app.extensions["CHAT_DATABASE"].writing()


def async_url(url: str) -> URL:
    """Return *url*, as hosting providers write it, with the asynchronous driver this app uses."""
    parsed = make_url(url)
    parsed = parsed.set(drivername=ASYNC_DRIVERS.get(parsed.drivername, parsed.drivername))
    if parsed.drivername == "postgresql+asyncpg" and "sslmode" in parsed.query:
        # libpq's name for it, which asyncpg refuses.
        mode = parsed.query["sslmode"]
        parsed = parsed.difference_update_query(["sslmode"]).update_query_dict({"ssl": mode})
    return parsed


def _use_wal(cursor: Any) -> None:
    """Have readers and a writer not wait for each other, from now on.

    Workers that do this to a new file at the same moment refuse each other at once, whatever the
    busy timeout says.
    """
    patience = time.monotonic() + BUSY_TIMEOUT / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > patience:
                raise
            time.sleep(0.01)
        else:
            return


def _set_up_sqlite(engine: AsyncEngine) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def set_pragmas(connection: Any, _record: Any) -> None:
        # Otherwise the driver decides by itself when a transaction begins.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT}")
        _use_wal(cursor)
        cursor.execute("PRAGMA synchronous = NORMAL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        mode = connection.get_execution_options().get("sqlite_begin", "DEFERRED")
        connection.exec_driver_sql(f"BEGIN {mode}")
