"""A socket as a connection sees it, whatever the server."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from .frames import Frame

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

PATIENCE = 5.0
"""For how many seconds a close waits for what is still to be written."""
GRACE = 10.0
"""How many seconds past the ping interval a client that answers pings may be silent."""
CLOSE_GRACE = 2.0
"""For how many seconds a client may take to answer a close."""


class Signal(enum.Enum):
    """Something that came in and is no message."""

    TOO_BIG = enum.auto()
    """A message that is longer than may be; the rest of it isn't read."""
    CONTROL = enum.auto()
    """A ping or a pong of the websocket itself, or many parts of a message yet to come."""


Incoming = str | bytes | Signal
Take = Callable[[Incoming], Awaitable[None] | None]
"""Takes what comes in; the next waits for what it returns, if that is something to wait for."""


class Transport(Protocol):
    """A socket, as a connection reads from it and writes to it."""

    @property
    def pending(self) -> int:
        """How many bytes wait to be written."""

    def is_stalled(self) -> bool:
        """Tell whether something waits, and nothing has been written since this was last asked."""

    async def accept(self, subprotocol: str | None) -> bool:
        """Complete the handshake, with the subprotocol chosen; False if the socket has ended."""

    async def serve(self, take: Take, first: Awaitable[None] | None = None) -> int:
        """Hand each message to *take* until the socket has ended; return its close code.

        Args:
            take: Takes the messages, one after the other.
            first: What is waited for before anything is read.
        """

    def send(self, frame: Frame, *, last: bool = False) -> bool:
        """Write *frame* after all that was sent before, without waiting for it.

        Args:
            frame: What is written.
            last: Whether it goes out whatever waits, as only a close follows it.

        Returns:
            False, and nothing is sent, where more than ``QUART_REALTIME_SEND_BUFFER`` would wait.
            A frame that is larger than all of that may go out alone.
        """

    async def close(self, code: int, reason: str, patience: float = PATIENCE) -> None:
        """Write what waits, for *patience* seconds at most, and then the close frame.

        :meth:`serve` returns when the client has answered, or some seconds later. Never raises.
        """

    def abort(self) -> None:
        """Drop what waits; nothing is written any more, and the socket is freed where it can be."""
