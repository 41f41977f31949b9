"""What we know of the ASGI server under us: how frames get to a socket, and how it ends."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from .frames import Frame

logger = logging.getLogger("quart_realtime")

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class StopSignal(Protocol):
    """What tells that the server has begun to stop."""

    async def wait(self) -> Any:
        """Return when it has."""


def stop_signal(send: Send) -> StopSignal | None:
    """Return what tells that the server under *send* has begun to stop.

    Hypercorn tells nobody, and from Python 3.12 on waits for open sockets for ever. But the object
    that its ``send`` belongs to has the event that its worker sets first.

    Returns:
        None on a server that isn't known, or where its ``send`` is wrapped.
    """
    stream = getattr(send, "__self__", None)
    if not type(stream).__module__.startswith("hypercorn."):
        return None
    terminated = getattr(getattr(stream, "context", None), "terminated", None)
    return terminated if callable(getattr(terminated, "wait", None)) else None


FLUSH_TIMEOUT = 5.0
"""For how many seconds a close waits for what is still to be written."""


class Transport(Protocol):
    """A socket, as a connection writes to it."""

    @property
    def pending(self) -> int:
        """How many bytes wait to be written."""

    async def accept(self, subprotocol: str | None) -> None:
        """Complete the handshake, with the subprotocol chosen."""

    def send(self, frame: Frame) -> None:
        """Write *frame* after all that was sent before, without waiting for it."""

    async def close(self, code: int, reason: str) -> None:
        """Write what waits, for a bounded time, and then the close frame. Never raises."""

    def abort(self) -> None:
        """Drop what waits; nothing is written any more."""


class ASGITransport:
    """Plain ASGI, right on any server.

    A task writes while there is something to write, and only then: an idle connection has none.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._frames: deque[Frame] = deque()
        self._pending = 0
        self._writer: asyncio.Task[None] | None = None
        self._ended = False

    @property
    def pending(self) -> int:
        """How many bytes wait to be written."""
        return self._pending

    async def accept(self, subprotocol: str | None) -> None:
        """Complete the handshake, with the subprotocol chosen."""
        await self._send({"type": "websocket.accept", "subprotocol": subprotocol, "headers": []})

    def send(self, frame: Frame) -> None:
        """Write *frame* after all that was sent before, without waiting for it."""
        if self._ended:
            return
        self._frames.append(frame)
        self._pending += len(frame)
        if self._writer is None:
            self._writer = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        try:
            while self._frames:
                frame = self._frames[0]
                await self._send({"type": "websocket.send", "text": frame.text, "bytes": None})
                if self._frames:  # abort() may have emptied it meanwhile.
                    self._frames.popleft()
                    self._pending -= len(frame)
        except Exception:
            # Each server raises errors of its own when the peer has gone; it says so by
            # websocket.disconnect too, which ends the connection.
            logger.debug("writing to a socket failed", exc_info=True)
            self.abort()
        finally:
            self._writer = None

    async def close(self, code: int, reason: str) -> None:
        """Write what waits, for a bounded time, and then the close frame. Never raises."""
        if self._writer is not None:
            await asyncio.wait([self._writer], timeout=FLUSH_TIMEOUT)
        if self._ended:
            return
        self.abort()
        try:
            async with asyncio.timeout(FLUSH_TIMEOUT):
                await self._send({"type": "websocket.close", "code": code, "reason": reason})
        except Exception:
            logger.debug("closing a socket failed", exc_info=True)

    def abort(self) -> None:
        """Drop what waits; nothing is written any more."""
        self._ended = True
        self._frames.clear()
        self._pending = 0
        writer, self._writer = self._writer, None
        if writer is not None and writer is not asyncio.current_task():
            writer.cancel()
