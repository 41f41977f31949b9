"""``current_connection``: the connection whose request or hook is running."""

from __future__ import annotations

from contextvars import ContextVar
from typing import cast

from werkzeug.local import LocalProxy

from .connection import Connection

_current: ContextVar[Connection | None] = ContextVar("quart_realtime_connection", default=None)


def connection_or_none() -> Connection | None:
    """Return the connection whose request or hook is running, None outside of one."""
    return _current.get()


def in_connection(connection: Connection) -> None:
    """Make *connection* what :data:`current_connection` stands for in this context."""
    _current.set(connection)


def _connection() -> Connection:
    connection = connection_or_none()
    if connection is None:
        raise RuntimeError(
            "there is no current_connection here: it exists in handlers, hooks and room "
            "authorisers that a websocket runs, not in a plain HTTP request"
        )
    return connection


current_connection = cast(Connection, LocalProxy(_connection))
"""The connection whose request, hook or room authoriser is running."""
