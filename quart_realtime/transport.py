"""A socket as a connection sees it, and the one that is right on any ASGI server."""

from __future__ import annotations

import asyncio
import enum
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol

from .frames import Frame
from .settings import Settings
from .turns import Writers

logger = logging.getLogger("quart_realtime")

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

PATIENCE = 5.0
"""For how many seconds a close waits for what is still to be written."""
CLOSE_GRACE = 2.0
"""For how many seconds a client may take to answer a close."""


class Signal(enum.Enum):
    """Something that came in and is no message."""

    TOO_BIG = enum.auto()
    """A message that is longer than may be; the rest of it isn't read."""
    CONTROL = enum.auto()
    """A ping or a pong of the websocket itself."""


Incoming = str | bytes | Signal
Take = Callable[[Incoming], Awaitable[None] | None]
"""Takes what comes in; the next waits for what it returns, if that is something to wait for."""


class Transport(Protocol):
    """A socket, as a connection reads from it and writes to it."""

    @property
    def pending(self) -> int:
        """How many bytes wait to be written."""

    async def accept(self, subprotocol: str | None) -> None:
        """Complete the handshake, with the subprotocol chosen."""

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


class ASGITransport:
    """Plain ASGI, right on any server."""

    def __init__(self, receive: Receive, send: Send, writers: Writers, settings: Settings) -> None:
        self._receive = receive
        self._send = send
        self._writers = writers
        self._limit = settings.send_buffer
        self._frames: deque[Frame] = deque()
        self._pending = 0
        self._writer: asyncio.Task[None] | None = None
        self._written: asyncio.Future[None] | None = None
        self._reading: asyncio.Timeout | None = None
        self._ended = False

    @property
    def pending(self) -> int:
        """How many bytes wait to be written."""
        return self._pending

    async def accept(self, subprotocol: str | None) -> None:
        """Complete the handshake, with the subprotocol chosen."""
        await self._send({"type": "websocket.accept", "subprotocol": subprotocol, "headers": []})

    async def serve(self, take: Take, first: Awaitable[None] | None = None) -> int:
        """Hand each message to *take* until the socket has ended; return its close code."""
        try:
            async with asyncio.timeout(None) as self._reading:
                if first is not None:
                    await first
                while True:
                    event = await self._receive()
                    if event["type"] == "websocket.disconnect":
                        return int(event.get("code", 1005))
                    if event["type"] == "websocket.receive":
                        text = event.get("text")
                        waiting = take(event.get("bytes") or b"" if text is None else text)
                        if waiting is not None:
                            await waiting
        except TimeoutError:
            if self._reading is None or not self._reading.expired():
                raise
            # Closed by us, and the client took too long to answer: it ends all the same.
            return 1006

    def send(self, frame: Frame, *, last: bool = False) -> bool:
        """Write *frame* after all that was sent before, without waiting for it."""
        if self._ended:
            return True
        if self._pending and self._pending + len(frame) > self._limit and not last:
            return False
        if not self._frames and self._writer is None:
            self._writers.add(self)
        self._frames.append(frame)
        self._pending += len(frame)
        return True

    async def write_out(self) -> None:
        """Write what waits; the writers call it."""
        self._writer = asyncio.current_task()
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
            if self._written is not None and not self._written.done():
                self._written.set_result(None)

    async def close(self, code: int, reason: str, patience: float = PATIENCE) -> None:
        """Write what waits, for *patience* seconds at most, and then the close frame."""
        loop = asyncio.get_running_loop()
        if self._frames:
            if self._written is None:
                self._written = loop.create_future()
            await asyncio.wait([self._written], timeout=patience)
        if not self._ended:
            self.abort()
            try:
                async with asyncio.timeout(patience):
                    await self._send({"type": "websocket.close", "code": code, "reason": reason})
            except Exception:
                logger.debug("closing a socket failed", exc_info=True)
        if self._reading is not None:
            with suppress(RuntimeError):  # It may have ended by itself.
                self._reading.reschedule(loop.time() + CLOSE_GRACE)

    def abort(self) -> None:
        """Drop what waits; nothing is written any more."""
        self._ended = True
        self._frames.clear()
        self._pending = 0
        writer = self._writer
        if writer is not None and writer is not asyncio.current_task():
            self._writers.leave_behind(writer)
            writer.cancel()
