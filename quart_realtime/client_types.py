"""The values and errors that the Python client hands out."""

from __future__ import annotations

from enum import Enum
from typing import Any

from attrs import frozen

from .protocol import CloseCode


class ConnectionState(Enum):
    """Where a client stands."""

    DISCONNECTED = "disconnected"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    WAITING = "waiting"
    """The connection was lost, or couldn't be had; the client comes back by itself."""


@frozen
class Event:
    """Something that happened, as the server told it.

    *offset* and *epoch* say where it stands in its room's history, None where the room keeps none.
    """

    type: str
    data: Any
    room: str
    id: str | None = None
    offset: int | None = None
    epoch: str | None = None


@frozen
class Recovery:
    """A room was resumed: *recovered* is False where events were missed and can't be had."""

    room: str
    recovered: bool


@frozen
class Disconnect:
    """A connection ended with *code*; *reconnecting* tells whether the client comes back."""

    code: int
    reason: str
    reconnecting: bool


class RealtimeError(Exception):
    """The server answered with an error.

    Args:
        code: What kind of error, such as ``"not_found"``.
        message: One sentence for the reader.
        details: What else the server told.

    """

    def __init__(self, code: str, message: str = "", details: Any = None) -> None:
        super().__init__(code, message, details)
        self.code = code
        self.message = message
        self.details = {} if details is None else details

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" if self.message else self.code


class ConnectionLost(Exception):
    """There was no connection to get an answer on.

    Args:
        maybe_processed: Whether the server may have done what it was asked.

    """

    def __init__(self, *, maybe_processed: bool) -> None:
        super().__init__(maybe_processed)
        self.maybe_processed = maybe_processed

    def __str__(self) -> str:
        if self.maybe_processed:
            return "the connection was lost before the answer came: it may have been processed"
        return "not connected, and not coming back by itself: nothing was sent"


class QueueFull(Exception):
    """While offline, no more requests are taken.

    Args:
        messages: How many are waiting.
        size: How many bytes they have together.

    """

    def __init__(self, messages: int, size: int) -> None:
        super().__init__(messages, size)
        self.messages = messages
        self.size = size

    def __str__(self) -> str:
        return f"offline, and {self.messages} requests of {self.size} bytes are waiting already"


class RequestTimedOut(TimeoutError):
    """No answer came in time; if the request was sent, it may have been processed.

    Args:
        what: What was asked.
        seconds: How long the answer had.

    """

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(what, seconds)
        self.what = what
        self.seconds = seconds

    def __str__(self) -> str:
        return f"{self.what}: no answer within {self.seconds:g} s"


class Closed(Exception):
    """The connection ended, or couldn't be had, and the client doesn't come back by itself.

    Args:
        code: The close code.
        reason: What the server said of it.

    """

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        name = f" ({CloseCode(self.code).label})" if self.code in set(CloseCode) else ""
        return f"closed with {self.code}{name}" + (f": {self.reason}" if self.reason else "")


class UnauthorizedError(Closed):
    """No token that the server takes can be had; raised by a ``token`` function, it is final."""

    def __init__(self, reason: str = "", code: int = CloseCode.UNAUTHORIZED) -> None:
        super().__init__(code, reason)


class TokenTypeError(UnauthorizedError, TypeError):
    """What the ``token`` function returned is no token: a mistake that no other try mends."""

    def __str__(self) -> str:
        return self.reason


class ConnectionRefused(Closed):
    """There is no websocket for us at that URL: the handshake was answered with *status*."""

    def __init__(self, status: int) -> None:
        super().__init__(CloseCode.ABNORMAL, f"the handshake was answered with HTTP {status}")
        self.status = status
