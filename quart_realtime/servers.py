"""What we know of the ASGI server under us: Hypercorn's fast lane."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

from wsproto.connection import Connection as WSConnection
from wsproto.connection import ConnectionState, ConnectionType
from wsproto.events import (
    CloseConnection,
    Event,
    Message,
    Ping,
    Pong,
    TextMessage,
)
from wsproto.handshake import server_extensions_handshake
from wsproto.utilities import LocalProtocolError

from .asgi import ASGITransport, Writers
from .assembly import Assembly
from .bookmark import Places
from .deflate import BoundedDeflate
from .frames import Frame
from .inside import (
    HTTP1Line,
    HTTP2Line,
    Inside,
    Unfamiliar,
    inside_hypercorn,
    reset,
    transport_under,
)
from .settings import Settings
from .streaming import Line, Streams, StreamTransport
from .transport import (
    CLOSE_GRACE,
    GRACE,
    PATIENCE,
    Incoming,
    Receive,
    Send,
    Signal,
    Take,
    Transport,
)
from .turns import Flusher
from .writing import CHUNK, BatchingProtocol

logger = logging.getLogger("quart_realtime")


class Transports:
    """Makes each socket's transport: Hypercorn's fast lane where it is known, plain ASGI elsewhere.

    Args:
        settings: The app's.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._flusher = Flusher()
        self._writers = Writers()
        self._streams = Streams()
        self._told: set[str] = set()

    def make(self, receive: Receive, send: Send) -> Transport:
        """Return the transport of the socket that *receive* and *send* belong to."""
        if self._settings.fast_lane:
            try:
                inside = inside_hypercorn(send)
            except Unfamiliar as error:
                self._tell(str(error))
            else:
                return HypercornTransport(inside, receive, send, self._flusher, self._settings)
        under: asyncio.Transport | None = None
        with suppress(Unfamiliar):
            under = transport_under(send)
        return ASGITransport(receive, send, self._writers, self._settings, under)

    def stream(self, send: Send, places: Places) -> StreamTransport:
        """Return what writes the event stream of the request that *send* belongs to.

        Its reader stood at *places* before.
        """
        line: Line | None = None
        silence = self._settings.ping_interval + GRACE
        with suppress(Unfamiliar):
            line = HTTP1Line(send, silence)
        with suppress(Unfamiliar):
            line = HTTP2Line(send, silence)
        stream = StreamTransport(self._settings.send_buffer, places, line)
        self._streams.add(stream)
        return stream

    async def catch_up(self) -> None:
        """Wait until all that sockets are owed has been written, as far as they take it."""
        await self._flusher.catch_up()
        await self._writers.catch_up()
        await self._streams.catch_up()

    def _tell(self, reason: str) -> None:
        if reason not in self._told:
            self._told.add(reason)
            logger.info("websockets are served by plain ASGI, without the fast lane: %s", reason)


_CLOSED_BUDGET = 4 * 1_048_576
"""How many bytes a client may go on to send after it was told that it is closed."""
_MESSAGE_TOO_BIG = 1009
_INTERNAL_ERROR = 1011
_EVENTS_A_TURN = 200
"""How many frames of one socket are read before other work gets its turn."""
_PARTS_A_MESSAGE = 32
"""As so many parts of a message that isn't complete yet as one message counts."""


class HypercornTransport(BatchingProtocol):
    """Hypercorn's fast lane: after the handshake the socket's bytes come here and go from here.

    Hypercorn goes on to own the socket, and learns of its end. Between, its reader, its queue, its
    lock and its task switches are left out: frames come encoded, and all that a socket is owed in a
    turn of the event loop is one write. wsproto reads what comes, so that Hypercorn and this agree
    on what state the websocket is in.
    """

    __slots__ = (
        "_assembly",
        "_closing",
        "_deaf",
        "_deflating",
        "_ended",
        "_grace",
        "_inside",
        "_limit",
        "_max_size",
        "_peer_code",
        "_receive",
        "_replaced",
        "_send",
        "_surplus",
        "_take",
        "_waiting",
        "_ws",
    )

    def __init__(
        self, inside: Inside, receive: Receive, send: Send, flusher: Flusher, settings: Settings
    ) -> None:
        super().__init__(inside.transport, flusher)
        self._inside: Inside | None = inside
        self._receive = receive
        self._send = send
        self._limit = settings.send_buffer
        self._max_size = settings.max_message_size
        self._deflating = settings.compression
        self._ws: WSConnection | None = None
        self._replaced: asyncio.BaseProtocol | None = None
        self._take: Take | None = None
        # A message that isn't complete, and what the taker of the last one waits for.
        self._assembly: Assembly | None = None
        self._waiting: asyncio.Task[None] | None = None
        self._peer_code: int | None = None
        self._closing = False
        # Whether wsproto has lost its place in what comes, and the count of what comes anyway.
        self._deaf = False
        self._surplus = 0
        self._grace: asyncio.TimerHandle | None = None
        self._ended = False

    # The handshake

    async def accept(self, subprotocol: str | None) -> bool:
        """Complete the handshake, with the subprotocol chosen, and take the socket over."""
        inside, self._inside = self._inside, None
        if inside is None or self._transport.is_closing():
            return False
        stream = inside.stream
        deflate = self._negotiate(stream.handshake) if self._deflating else None
        self._deflating = deflate is not None
        if deflate is None:
            stream.handshake.extensions = None
        # Before the client can know: what it sends then comes here and nowhere else.
        self._replaced = self._transport.get_protocol()
        self._transport.set_protocol(self)
        self._transport.pause_reading()
        await self._send({"type": "websocket.accept", "subprotocol": subprotocol, "headers": []})
        self._ws = getattr(stream, "connection", None)
        if self._ws is None or stream.closed:
            # Hypercorn had refused it by then, and says nothing of that.
            self._closing = True
            self._transport.close()
            return False
        if deflate is not None:
            self._ws = stream.connection = WSConnection(ConnectionType.SERVER, [deflate])
        self.watch_buffer()
        # The handshake has used these up, but they would be kept as long as the socket; the
        # subprotocols may hold the token.
        stream.handshake.connection_tokens = stream.handshake.subprotocols = None
        if hasattr(inside.http.connection, "h11_connection"):
            inside.http.connection.h11_connection = None
        return True

    def _negotiate(self, handshake: Any) -> BoundedDeflate | None:
        """Agree on compression as Hypercorn is going to, None where it isn't offered."""
        deflate = BoundedDeflate(self._max_size)
        try:
            offers = handshake.extensions or []
            return deflate if server_extensions_handshake(offers, [deflate]) else None
        except ValueError:
            return None

    # What goes out

    def send(self, frame: Frame, *, last: bool = False) -> bool:
        """Write *frame* after all that was sent before, without waiting for it."""
        if self._owed is None and not (self._closing or self._stuck or self._deflating):
            # What nearly every frame finds; the rest is for those that are many or find it worse.
            self._owed = wire = frame.wire
            self._queued = len(wire)
            self._flusher.add(self)
            return True
        return self._send_more(frame, last)

    def _send_more(self, frame: Frame, last: bool) -> bool:
        if self._closing:
            return True
        if self._queued > CHUNK and not self._stuck:
            self.flush()
        if self._stuck and self.pending + len(frame) > self._limit and not last:
            return False
        self.owe(self._encoded(TextMessage(frame.text)) if self._deflating else frame.wire)
        return True

    def _encoded(self, event: Event) -> bytes:
        """Encode what is this socket's alone; nothing where the state doesn't allow it."""
        try:
            return b"" if self._ws is None else bytes(self._ws.send(event))
        except LocalProtocolError:
            return b""

    # What comes in

    async def serve(self, take: Take, first: Awaitable[None] | None = None) -> int:
        """Hand each message to *take* until the socket has ended; return its close code."""
        self._take = take
        if first is not None:
            self._wait_for(first)
            first = None  # Or it would be kept as long as the socket.
        else:
            self._read_on()
        try:
            # Messages come by data_received; Hypercorn has none, but knows of the end.
            while (event := await self._receive())["type"] != "websocket.disconnect":
                pass
        finally:
            if self._waiting is not None:
                self._waiting.cancel()
                await asyncio.wait([self._waiting], timeout=CLOSE_GRACE)
        return int(self._peer_code or event.get("code", 1006))

    def _wait_for(self, awaited: Awaitable[None]) -> None:
        async def wait() -> None:
            try:
                await awaited
            except Exception:
                self._fail()
            self._waiting = None
            self._read_on()

        self._transport.pause_reading()
        self._waiting = asyncio.get_running_loop().create_task(wait())

    def _read_on(self) -> None:
        if self._transport.is_closing() or self._surplus > _CLOSED_BUDGET:
            return
        if self._read() and self._waiting is None:
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Read what the client has sent."""
        if self._closing and self._is_surplus(data):
            return
        if self._ws is not None and not self._deaf:
            self._ws.receive_data(data)
            self._read()

    def _is_surplus(self, data: bytes) -> bool:
        """Count what comes after our close; whoever goes on and on isn't listened to any more.

        Hanging up there and then might destroy our close before it is read; that is for the grace.
        """
        self._surplus += len(data)
        if self._surplus <= _CLOSED_BUDGET:
            return False
        self._transport.pause_reading()
        return True

    def _read(self) -> bool:
        """Hand on what has come, until something is to be waited for or others have their turn.

        Returns:
            Whether all of it has been read.
        """
        if self._ws is None or self._waiting is not None:
            return True
        for count, event in enumerate(self._ws.events(), 1):
            if isinstance(event, Message):
                self._read_part(event)
            elif isinstance(event, CloseConnection):
                self._read_close(event)
            elif isinstance(event, (Ping, Pong)):
                if isinstance(event, Ping) and not self._closing and not self._stuck:
                    self.owe(self._encoded(event.response()))
                self._hand_on(Signal.CONTROL)
            if self._waiting is not None or self._ended:
                return True
            if count == _EVENTS_A_TURN:
                # One read may bring tens of thousands of frames.
                self._transport.pause_reading()
                asyncio.get_running_loop().call_soon(self._read_on)
                return False
        return True

    def _read_part(self, event: Message[Any]) -> None:
        if self._closing:
            return
        # wsproto's older versions give a bytearray.
        data = event.data if isinstance(event.data, str) else bytes(event.data)
        if event.message_finished and self._assembly is None:
            self._hand_on(data)
            return
        if self._assembly is None:
            self._assembly = Assembly(self._max_size)
        assembly = self._assembly
        fits = assembly.add(data)
        if event.message_finished or not fits:
            self._assembly = None
            self._hand_on(assembly.message() if fits else Signal.TOO_BIG)
        elif assembly.count % _PARTS_A_MESSAGE == 0:
            self._hand_on(Signal.CONTROL)

    def _read_close(self, event: CloseConnection) -> None:
        """Answer the client's close; or close because it broke the protocol."""
        ws = self._ws
        if ws is None or ws.state is ConnectionState.CLOSED:
            self._hang_up()
        elif ws.state is ConnectionState.REMOTE_CLOSING:
            self._peer_code = int(event.code)
            self.owe(bytes(ws.send(event.response())))
            self._hang_up()
        elif event.code == _MESSAGE_TOO_BIG:
            self._deaf = True
            self._hand_on(Signal.TOO_BIG)
        else:
            logger.info("a client broke the websocket protocol: %s", event.reason)
            self._give_up(event.code, event.reason)

    def _hand_on(self, message: Incoming) -> None:
        if self._closing or self._take is None:
            return
        try:
            waiting = self._take(message)
        except Exception:
            self._fail()
        else:
            if waiting is not None:
                self._wait_for(waiting)

    def _fail(self) -> None:
        logger.exception("taking what a client sent failed: its socket is closed")
        self._give_up(_INTERNAL_ERROR, None)

    def _give_up(self, code: int, reason: str | None) -> None:
        """Close, and listen no more.

        What is unread yet is still received, for the close's grace, or it might destroy the close.
        """
        self.owe(self._encoded(CloseConnection(code, reason)))
        self._closing = self._deaf = True
        self.flush()
        if not self._transport.can_write_eof():
            self._transport.close()
        elif not self.pending:
            self._transport.write_eof()
        self._start_grace()

    def _hang_up(self) -> None:
        """Write what waits, and close the socket; by force if that takes too long."""
        self._closing = True
        self.flush()
        self._transport.close()
        self._start_grace()

    # The end

    async def close(self, code: int, reason: str, patience: float = PATIENCE) -> None:
        """Write what waits and the close frame, for *patience* seconds at most."""
        if self._closing or self._ended:
            return
        self._closing = True
        self._assembly = None
        self.owe(self._encoded(CloseConnection(code=code, reason=reason)))
        self.flush()
        if not await self.written(patience):
            self.abort()
        self._start_grace()

    def _start_grace(self) -> None:
        if not self._ended and self._grace is None:
            loop = asyncio.get_running_loop()
            self._grace = loop.call_later(CLOSE_GRACE, self._end_grace)

    def _end_grace(self) -> None:
        # TLS would wait half a minute for the peer's farewell, and once only.
        if self.pending or self._socket is None or self._transport.is_closing():
            self.abort()
        else:
            self._transport.close()

    def abort(self) -> None:
        """Drop what waits and free the socket at once, whatever the peer does."""
        if self._ended:
            return
        self._ended = True
        self._closing = True
        self._assembly = None
        self.drop()
        reset(self._transport)

    def connection_lost(self, error: Exception | None) -> None:
        """Let Hypercorn know, which ends the websocket."""
        self._ended = True
        self._closing = True
        self._assembly = None
        self.drop()
        if self._grace is not None:
            self._grace.cancel()
        if self._replaced is not None:
            replaced, self._replaced = self._replaced, None
            replaced.connection_lost(error)
