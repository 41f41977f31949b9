"""Client sockets on picows, and how many of them are opened at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

import picows

from .dialects import SMALL, Dialect, Refused

TEXT, CLOSE = picows.WSMsgType.TEXT, picows.WSMsgType.CLOSE
OPEN_TIMEOUT = 30.0
"""For how many seconds a socket may take to be ready."""
CONCURRENCY = 32
"""How many sockets are being opened at any time."""


class Socket(picows.WSListener):
    """A socket that becomes ready, and then does nothing but small talk."""

    def __init__(self, dialect: Dialect, rooms: tuple[str, ...]) -> None:
        self.dialect = dialect
        self.rooms = rooms
        self.opened = False
        self.closed = False
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: picows.WSTransport

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        """Begin the peer's own handshake."""
        self.transport = transport
        self.greet(None)

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """Go on with the handshake, or with the small talk."""
        self.talk(frame)

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
        """Note that it is over."""
        self.closed = True
        if not self.ready.done():
            self.ready.set_exception(Refused("nothing, and closed"))

    def greet(self, text: str | None) -> None:
        """Take one step of the handshake."""
        try:
            step = self.dialect.greet(text, self.rooms)
        except Refused as error:
            if not self.ready.done():
                self.ready.set_exception(error)
            return
        if step is True:
            self.opened = True
            if not self.ready.done():
                self.ready.set_result(None)
        elif step:
            self.say(str(step))

    def talk(self, frame: picows.WSFrame) -> None:
        """Take what is no event."""
        if frame.msg_type == CLOSE:
            self.transport.disconnect()
        elif frame.msg_type == TEXT and not self.opened:
            self.greet(frame.get_payload_as_utf8_text())
        elif frame.msg_type == TEXT:
            answer = self.dialect.answer_small_talk(frame.get_payload_as_utf8_text())
            if answer is not None:
                self.say(answer)

    def say(self, text: str | bytes) -> None:
        """Send a text."""
        self.transport.send(TEXT, text.encode() if isinstance(text, str) else text)


class Asker(Socket):
    """A socket that hands each larger frame to whoever asked."""

    def __init__(self, dialect: Dialect, rooms: tuple[str, ...]) -> None:
        super().__init__(dialect, rooms)
        self.answered: Callable[[bytes], None] = lambda data: None

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """Pass an answer on."""
        if self.opened and frame.payload_size >= SMALL:
            self.answered(frame.get_payload_as_bytes())
        else:
            self.talk(frame)


S = TypeVar("S", bound=Socket)


async def open_one(port: int, number: int, socket: S) -> S:
    """Open *socket*, the one of that number, and wait until it is ready."""
    path = socket.dialect.path(socket.rooms)
    async with asyncio.timeout(OPEN_TIMEOUT):
        await picows.ws_connect(
            lambda: socket,
            f"ws://127.0.0.1:{port}{path}",
            extra_headers=socket.dialect.headers(number),
            websocket_handshake_timeout=OPEN_TIMEOUT,
            read_buffer_init_size=4096,
        )
        await socket.ready
    return socket


async def open_many(port: int, sockets: Sequence[S], first: int = 0) -> Sequence[S]:
    """Open *sockets*, a few at a time; they are numbered from *first* on."""
    numbered = iter(list(enumerate(sockets, first)))

    async def work() -> None:
        for number, socket in numbered:
            await open_one(port, number, socket)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(CONCURRENCY, len(sockets))):
            group.create_task(work())
    return sockets


async def close_all(sockets: Sequence[Socket]) -> None:
    """Drop *sockets*, without ceremony."""
    for socket in sockets:
        if not socket.closed:
            socket.transport.disconnect(graceful=False)
    await asyncio.sleep(0.05)
