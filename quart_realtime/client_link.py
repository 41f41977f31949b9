"""One socket of the Python client; the only module that knows the websockets library."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeAlias

import msgspec
from attrs import define, frozen

from .client_listeners import Tasks
from .client_types import (
    Closed,
    ConnectionLost,
    ConnectionRefused,
    RealtimeError,
    RequestTimedOut,
)
from .protocol import BEARER_PREFIX, PROTOCOL_VERSION, SUBPROTOCOL, CloseCode, may_reconnect

try:
    from websockets.asyncio.client import ClientConnection
    from websockets.asyncio.client import connect as websockets_connect
    from websockets.exceptions import ConnectionClosed, InvalidStatus, NegotiationError
    from websockets.typing import Subprotocol
    from websockets.uri import parse_uri
except ImportError as error:
    raise ImportError(
        'the client needs websockets 14 or newer: pip install "quart-realtime[client]"'
    ) from error

logger = logging.getLogger("quart_realtime.client")

# At DEBUG, websockets logs the handshake, and the token with it.
_quiet = logging.getLogger("quart_realtime.client.socket")
_quiet.setLevel(logging.INFO)

MAX_INCOMING = 16 * 1024 * 1024
CLOSE_TIMEOUT = 2.0
"""How many seconds the server may take to answer our close."""
PING_INTERVAL = 25.0
GRACE = 10.0
"""How many seconds past its ping's turn the server may be silent."""
PROBE_TIMEOUT = 3.0
LOOKS_PER_INTERVAL = 5
LONGEST_NAP, SHORTEST_NAP = 5.0, 0.01
"""How long the watch over a socket sleeps: short enough that a waking laptop notices soon."""


class Told(msgspec.Struct):
    """An error as a frame or a room's answer carries it."""

    code: str = "internal_error"
    message: str = ""
    details: Any = None

    def error(self) -> RealtimeError:
        """Return the exception that stands for it."""
        return RealtimeError(self.code, self.message, self.details)


class Joined(msgspec.Struct):
    """A room that the server put us in, and where it stands."""

    room: str
    epoch: str | None = None
    offset: int | None = None


class Greeting(msgspec.Struct):
    """What a ``connected`` frame says."""

    connection_id: str | None = None
    user_id: str | None = None
    protocol: int = PROTOCOL_VERSION
    ping_interval: float | None = PING_INTERVAL
    max_message_size: int | None = None
    expires_at: float | None = None
    rooms: list[Joined] = []


class Authenticated(msgspec.Struct):
    """What the answer to ``auth`` says."""

    expires_at: float | None = None


class ConnectedFrame(msgspec.Struct, tag_field="type", tag="connected"):
    """We are logged in."""

    payload: dict[str, Any]


class ResponseFrame(msgspec.Struct, tag_field="type", tag="response"):
    """The answer to the request of that id."""

    id: str
    payload: Any = None


class ErrorFrame(msgspec.Struct, tag_field="type", tag="error"):
    """The refusal of the request of that id, None where the server couldn't read one."""

    id: str | None = None
    payload: Told = msgspec.field(default_factory=Told)


class EventPayload(msgspec.Struct):
    """What happened."""

    type: str
    data: Any = None


class EventFrame(msgspec.Struct, tag_field="type", tag="event"):
    """Something happened in a room."""

    payload: EventPayload
    id: str | None = None
    room: str | None = None
    offset: int | None = None
    epoch: str | None = None


class PingFrame(msgspec.Struct, tag_field="type", tag="ping"):
    """The server asks whether we are there."""


class PongFrame(msgspec.Struct, tag_field="type", tag="pong"):
    """The server is there; with an id it answers the ping of that id."""

    id: str | None = None
    payload: Any = None


class ClosingPayload(msgspec.Struct):
    """Why the server is about to close, and what to do then."""

    code: str = ""
    reconnect: bool | None = None
    retry_after_ms: float | None = None


class ClosingFrame(msgspec.Struct, tag_field="type", tag="closing"):
    """The server is about to close."""

    payload: ClosingPayload


ServerFrame: TypeAlias = (
    ConnectedFrame | ResponseFrame | ErrorFrame | EventFrame | PingFrame | PongFrame | ClosingFrame
)

_decoder: msgspec.json.Decoder[ServerFrame] = msgspec.json.Decoder(ServerFrame)
_PING = '{"type":"ping"}'
_PONG = '{"type":"pong"}'


def encode(kind: str, **rest: Any) -> str:
    """Return the text of a frame of type *kind*."""
    return msgspec.json.encode({"type": kind, **rest}).decode()


@asynccontextmanager
async def time_limit(what: str, seconds: float) -> AsyncIterator[None]:
    """Raise RequestTimedOut where the block takes longer than *seconds*."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise RequestTimedOut(what, seconds) from None


@frozen
class End:
    """How a connection ended, and what the server wishes us to do."""

    code: int
    reason: str
    may_return: bool
    retry_after: float | None


@define(eq=False)
class _Question:
    """Something we asked; *received* runs before the frame after the answer is looked at."""

    answer: asyncio.Future[Any]
    received: Callable[[Any], None] | None


class _Connect(websockets_connect):
    """A handshake that follows no redirects: they would carry the token to another server."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


def check_url(url: str) -> None:
    """Raise ValueError unless *url* is one of a websocket."""
    try:
        parse_uri(url)
    except Exception as error:
        raise ValueError(f"{url!r} is no ws:// or wss:// URL: {error}") from None


async def open_link(
    url: str, token: str | None, headers: Mapping[str, str] | None, clock: Callable[[], float]
) -> Link:
    """Shake hands with the server at *url*.

    Raises:
        ConnectionRefused: the server answered that there is no websocket for us.
        Closed: it speaks no version of the protocol that we do.
        OSError, websockets.exceptions.InvalidHandshake: it can't be reached, or isn't one.

    """
    subprotocols = [Subprotocol(SUBPROTOCOL)]
    if token is not None:
        subprotocols.append(Subprotocol(BEARER_PREFIX + token))
    try:
        socket = await _Connect(
            url,
            subprotocols=subprotocols,
            additional_headers=headers,
            compression=None,
            open_timeout=None,
            ping_interval=None,
            close_timeout=CLOSE_TIMEOUT,
            max_size=MAX_INCOMING,
            logger=_quiet,
        )
    except InvalidStatus as error:
        raise ConnectionRefused(error.response.status_code) from None
    except NegotiationError as error:
        raise no_version_in_common(str(error)) from None
    if socket.subprotocol != SUBPROTOCOL:
        socket.transport.abort()
        raise no_version_in_common("the server has chosen no subprotocol")
    return Link(socket, token, clock)


def no_version_in_common(why: str) -> Closed:
    """Return the end of a connection to a server that speaks another version, for good."""
    return Closed(CloseCode.PROTOCOL_ERROR, f"this client speaks {SUBPROTOCOL} alone: {why}")


class Link:
    """One socket, with what was asked on it and isn't answered yet.

    Attributes:
        token: The token that the server knows us by.
        connected_at: When ``connected`` came by the wall clock, None before.
        most_bytes: How many bytes the server takes in one message, None where it doesn't say.
        tasks: What runs as long as this socket lives.

    """

    def __init__(
        self, socket: ClientConnection, token: str | None, clock: Callable[[], float]
    ) -> None:
        self.token = token
        self.connected_at: float | None = None
        self.most_bytes: int | None = None
        self.tasks = Tasks()
        self.fatal: Closed | None = None
        self._socket = socket
        self._clock = clock
        self._questions: dict[str, _Question] = {}
        self._closing = ClosingPayload()
        self._end: tuple[int, str] | None = None
        self._heard()

    def _heard(self) -> None:
        self._heard_at = self._clock(), asyncio.get_running_loop().time()

    async def receive(self) -> ServerFrame | None:
        """Return the next frame that is for the client, None at the end of the connection.

        Pings are answered here; what is no frame of this protocol is passed over.
        """
        while True:
            try:
                message = await self._socket.recv()
                self._heard()
                if isinstance(message, bytes):
                    raise msgspec.ValidationError("a binary message")
                frame = _decoder.decode(message)
                if isinstance(frame, PingFrame):
                    await self._socket.send(_PONG)
            except ConnectionClosed as closed:
                self._end = _close_code(closed)
                return None
            except (msgspec.MsgspecError, RecursionError) as error:
                logger.debug("ignored what the server sent: %s", error)
                continue
            match frame:
                case ResponseFrame() | PongFrame(id=str()) | ErrorFrame(id=str()):
                    self._answered(frame)
                case ClosingFrame():
                    self._closing = frame.payload
                case ConnectedFrame() | EventFrame() | ErrorFrame():
                    return frame

    def _answered(self, frame: ResponseFrame | PongFrame | ErrorFrame) -> None:
        # An answer that nobody waits for any longer, or never did, is none.
        question = self._questions.pop(frame.id or "", None)
        if question is None or question.answer.done():
            return
        if isinstance(frame, ErrorFrame):
            question.answer.set_exception(frame.payload.error())
            return
        if question.received is not None:
            question.received(frame.payload)
        question.answer.set_result(frame.payload)

    async def ask(
        self, frame_id: str, text: str, received: Callable[[Any], None] | None = None
    ) -> Any:
        """Send the frame *text* and return the answer to it.

        Args:
            frame_id: The id in *text*, one that isn't in use on this socket.
            text: The frame.
            received: Called with the answer before the frame that follows it is looked at.

        Raises:
            RealtimeError: the server refused it, or would close the connection over its size.
            ConnectionLost: the connection ended first.

        """
        self._check_size(text)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._questions[frame_id] = _Question(answer, received)
        try:
            await self._send(text)
            return await answer
        finally:
            self._questions.pop(frame_id, None)
            # The connection may have been lost while sending.
            if answer.done() and not answer.cancelled():
                answer.exception()

    def _check_size(self, text: str) -> None:
        most = self.most_bytes
        # No character has more than 4 bytes: most messages needn't be encoded to be measured.
        if most is None or len(text) * 4 <= most:
            return
        size = len(text.encode())
        if size > most:
            raise RealtimeError("payload_too_large", f"{size} bytes: the server takes {most}")

    async def _send(self, text: str) -> None:
        # Part of it may be on its way: the answer tells, or the end of the connection does.
        with suppress(ConnectionClosed):
            await self._socket.send(text)

    async def watch(self, ping_interval: float | None, look: Callable[[], None]) -> None:
        """Find out when the server is gone; it is when nothing came for too long.

        A wall clock that says so may have been set, or the machine may have slept: then the server
        is asked first. The event loop's own clock needs no second opinion.

        Args:
            ping_interval: How often the server pings, in seconds; not at all if None or 0.
            look: Called at each look at the clock.

        """
        pings = ping_interval if ping_interval and ping_interval > 0 else None
        nap = LONGEST_NAP if pings is None else pings / LOOKS_PER_INTERVAL
        while True:
            await asyncio.sleep(min(LONGEST_NAP, max(SHORTEST_NAP, nap)))
            look()
            if pings is not None and await self._is_gone(pings + GRACE):
                self.abort()
                return

    async def _is_gone(self, patience: float) -> bool:
        wall, steady = self._heard_at
        if asyncio.get_running_loop().time() - steady > patience:
            return True
        return self._clock() - wall > patience and not await self._probe()

    async def _probe(self) -> bool:
        """Tell whether the server answers a ping."""
        before = self._heard_at
        await self._send(_PING)
        await asyncio.sleep(PROBE_TIMEOUT)
        return self._heard_at != before

    def abort(self, fatal: Closed | None = None) -> None:
        """Cut the connection, for good if *fatal* says why."""
        logger.info("cutting the connection: %s", fatal or "the server is silent")
        self.fatal = fatal
        self._socket.transport.abort()

    async def close(self) -> None:
        """Close the socket, if it isn't, and tell all who wait for an answer."""
        for question in self._questions.values():
            if not question.answer.done():
                question.answer.set_exception(ConnectionLost(maybe_processed=True))
        try:
            await self.tasks.end()
            await self._socket.close()
        finally:
            self._socket.transport.abort()

    def end(self) -> End:
        """Return how it ended."""
        code, reason = self._end or (CloseCode.ABNORMAL, "")
        told = self._closing
        if code == CloseCode.ABNORMAL:
            code = CloseCode.__members__.get(told.code.upper(), code)
        may_return = may_reconnect(code) if told.reconnect is None else told.reconnect
        retry_after = None if told.retry_after_ms is None else told.retry_after_ms / 1000
        return End(int(code), reason, may_return, retry_after)


def _close_code(closed: ConnectionClosed) -> tuple[int, str]:
    """Return the server's close code; what we broke off ourselves is 1006, as in a browser."""
    if closed.rcvd is None or (closed.sent is not None and not closed.rcvd_then_sent):
        return CloseCode.ABNORMAL, ""
    return closed.rcvd.code, closed.rcvd.reason
