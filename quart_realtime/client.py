"""The Python client: requests, events and rooms over one websocket that comes back by itself.

::

    async with connect("ws://localhost:8000/ws", token=token) as client:
        page = await client.request("conversations", "get_all", user_id="user123")
        room = await client.subscribe("conversation:conv123")
        async for event in room:
            print(event.type, event.data)

Needs the extra: ``pip install "quart-realtime[client]"``.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Mapping
from functools import partial
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import msgspec

from .backoff import Backoff
from .client_following import Following
from .client_link import (
    Authenticated,
    ConnectedFrame,
    ErrorFrame,
    EventFrame,
    Greeting,
    Link,
    ServerFrame,
    check_url,
    encode,
    no_version_in_common,
    open_link,
    time_limit,
)
from .client_listeners import EventSource, Stream
from .client_requests import Requests
from .client_rooms import Room
from .client_tokens import TokenFunction, Tokens
from .client_types import (
    Closed,
    ConnectionLost,
    ConnectionRefused,
    ConnectionState,
    Disconnect,
    Event,
    QueueFull,
    RealtimeError,
    Recovery,
    RequestTimedOut,
    UnauthorizedError,
)
from .protocol import PROTOCOL_VERSION, CloseCode, is_room_name, request_payload

__all__ = [
    "Backoff",
    "Client",
    "Closed",
    "ConnectionLost",
    "ConnectionRefused",
    "ConnectionState",
    "Disconnect",
    "Event",
    "QueueFull",
    "RealtimeError",
    "Recovery",
    "RequestTimedOut",
    "Room",
    "Stream",
    "UnauthorizedError",
    "connect",
]

logger = logging.getLogger("quart_realtime.client")

FAREWELL = 1.0
"""How many seconds callbacks that still run may go on after a disconnect."""
PASSING_STATUS = frozenset({408, 425, 429})
"""The HTTP statuses below 500 that say nothing against trying again."""


class Client(EventSource):
    """A connection that comes back; ``async with`` connects and disconnects it.

    Args:
        url: Where the server is, ``ws://`` or ``wss://``.
        token: The JWT, or a function that returns one. It may be asynchronous, and is to be where
            it waits for anything, since all else in the event loop waits for one that isn't. It
            may take a reason: ``"connect"``, ``"expired"`` (also: refused) or ``"refresh"``; when
            it raises :class:`UnauthorizedError` or returns None the client gives up, after any
            other exception it tries again. May be left out where the URL or the headers carry the
            token.
        request_timeout: How many seconds an answer may take, time offline included.
        connect_timeout: How many seconds one attempt may take until the server's greeting.
        queue_messages: How many requests may wait while offline; more raise :class:`QueueFull`.
        queue_bytes: How many bytes they may have together.
        backoff: How long to wait before coming back.
        headers: HTTP headers of the handshake. A login by ``Cookie`` needs an ``Origin`` that the
            server allows, without which it looks at no cookie.

    Attributes:
        user_id: Who is logged in, None before the first greeting and after the end.
        connection_id: The server's name for the present or the last connection.

    Raises:
        ValueError: *url* isn't one of a websocket, or nothing carries a token.

    """

    def __init__(
        self,
        url: str,
        token: str | TokenFunction | None = None,
        *,
        request_timeout: float = 10.0,
        connect_timeout: float = 10.0,
        queue_messages: int = 100,
        queue_bytes: int = 256 * 1024,
        backoff: Backoff = Backoff(),  # noqa: B008 - it is frozen
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        check_url(url)
        if token is None and not headers and "?" not in url:
            raise ValueError("pass token=, or a URL or headers= that carry one")
        self.user_id: str | None = None
        self.connection_id: str | None = None
        self._url = url
        self._headers = headers
        self._request_timeout = request_timeout
        self._connect_timeout = connect_timeout
        self._backoff = backoff
        self._tokens = Tokens(token, backoff)
        self._requests = Requests(queue_messages, queue_bytes, backoff.clock)
        self._ids = map("c{}".format, itertools.count(1))
        self._state = ConnectionState.DISCONNECTED
        self._run: asyncio.Task[None] | None = None
        self._final: Closed | None = None
        self._following = Following(
            self._deliver,
            self._hooks.tell,
            ids=self._ids,
            backoff=backoff,
            timeout=request_timeout,
            tasks=self._tasks,
        )

    def __repr__(self) -> str:
        return f"<Client {self._state.value} user={self.user_id!r}>"

    @property
    def state(self) -> ConnectionState:
        """Where the client stands."""
        return self._state

    @property
    def rooms(self) -> tuple[str, ...]:
        """The rooms that the server put this client in."""
        return self._following.joined

    # Coming and going

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.disconnect()

    async def connect(self) -> None:
        """Connect, and wait for the server's greeting, however many attempts that takes.

        Raises:
            UnauthorizedError: no token that the server takes could be had.
            TypeError: the ``token`` function returned something that is no text.
            ConnectionRefused: there is no websocket at the URL.
            Closed: the server turned us away for good.

        """
        if self._state is ConnectionState.DISCONNECTED:
            self._final = None
            self._requests.begin()
            self._state = ConnectionState.CONNECTING
            self._run = asyncio.get_running_loop().create_task(self._keep_connected())
        run = self._run
        try:
            await self._requests.link()
        except BaseException as error:
            final = self._final
            if self._run is run:  # And nobody has connected anew meanwhile.
                await self.disconnect()
            if final is not None and isinstance(error, ConnectionLost):
                raise final from None
            raise

    async def disconnect(self) -> None:
        """Close the connection, in whatever state it is, and leave nothing behind.

        Requests that wait raise :class:`ConnectionLost`, iterations end, and callbacks that still
        run get a second to finish.
        """
        run, self._run = self._run, None
        if run is not None:
            run.cancel()
            await asyncio.wait([run])
        if self._run is not None:
            return  # Somebody has connected anew meanwhile, whose all of this is now.
        if self._state is not ConnectionState.DISCONNECTED:
            self._finish(None)
        await self._tokens.end()
        await self._tasks.end(FAREWELL)

    async def _keep_connected(self) -> None:
        failures = 0
        try:
            while True:
                self._state = ConnectionState.CONNECTING
                connected_at, retry_after = await self._hold_connection()
                now = self._backoff.clock()
                if connected_at is not None and now - connected_at >= self._backoff.stable_after:
                    failures = 0
                if retry_after is not None:
                    delay = self._backoff.spread(retry_after)
                else:
                    delay = self._backoff.delay(failures)
                failures += 1
                self._state = ConnectionState.WAITING
                await asyncio.sleep(delay)
        except Closed as error:
            self._finish(error)
        except Exception as error:
            logger.exception("the client failed")
            self._finish(Closed(CloseCode.ABNORMAL, f"the client failed: {error!r}"))

    async def _hold_connection(self) -> tuple[float | None, float | None]:
        """Live through one connection, from the handshake to its end.

        Returns:
            When it was greeted, and within how many seconds the server wants us back.

        Raises:
            Closed: there is no coming back.

        """
        link: Link | None = None
        try:
            async with asyncio.timeout(self._connect_timeout):
                link = await self._shake_hands()
                if link is None:
                    return None, None
                while link.connected_at is None and (frame := await link.receive()):
                    self._take(link, frame)
            while frame := await link.receive():
                self._take(link, frame)
        except TimeoutError as error:
            self._fail(error)
            return None, None
        finally:
            if link is not None:
                await self._drop(link)
        return self._part(link)

    async def _drop(self, link: Link) -> None:
        self._state = ConnectionState.WAITING
        self._requests.lost()
        self._following.lost(void=link.end().code == CloseCode.RESYNC)
        await link.close()

    async def _shake_hands(self) -> Link | None:
        """Return a socket that isn't greeted yet, None where that failed for now."""
        try:
            token = await self._tokens.for_handshake()
            return await open_link(self._url, token, self._headers, self._backoff.clock)
        except ConnectionRefused as error:
            # A URL that never worked is wrong; one that did has its server replaced just now.
            passing = error.status >= 500 or error.status in PASSING_STATUS
            if self.connection_id is None and not passing:
                raise
            self._fail(error)
        except Closed:
            raise
        except Exception as error:
            self._fail(error)
        return None

    def _fail(self, error: Exception) -> None:
        logger.info("connecting failed: %r", error)
        self._hooks.tell("error", error)

    def _part(self, link: Link) -> tuple[float | None, float | None]:
        """Take the end of *link*: come back, or raise Closed."""
        if link.fatal is not None:
            raise link.fatal
        end = link.end()
        if end.code in (CloseCode.TOKEN_EXPIRED, CloseCode.UNAUTHORIZED):
            self._tokens.refused(link.token, end.reason, end.code)
        elif not end.may_return:
            raise Closed(end.code, end.reason)
        if link.connected_at is None:
            self._fail(Closed(end.code, end.reason))
        else:
            logger.info("connection lost: %s %s", end.code, end.reason)
            self._hooks.tell("disconnect", Disconnect(end.code, end.reason, True))
        return link.connected_at, end.retry_after

    def _finish(self, error: Closed | None) -> None:
        """Be disconnected: by the app if *error* is None."""
        self._state = ConnectionState.DISCONNECTED
        self._final = error
        self.user_id = None
        self._requests.end(error)
        self._following.end(error)
        self._end_streams(error)
        code, reason = (CloseCode.NORMAL, "") if error is None else (error.code, error.reason)
        self._hooks.tell("disconnect", Disconnect(int(code), reason, False))

    # Requests

    async def request(
        self,
        resource: str,
        action: str,
        payload: Mapping[str, Any] | None = None,
        /,
        *,
        timeout: float | None = None,
        retry: bool = False,
        **arguments: Any,
    ) -> Any:
        """Ask *resource* to do *action*, and return the answer.

        Args:
            resource: Such as ``"messages"``.
            action: Such as ``"create"``.
            payload: The arguments, whatever their names.
            timeout: How many seconds the answer may take, time offline included.
            retry: Whether to ask again when the connection was lost before the answer came; the
                server does it once all the same.
            **arguments: More arguments, by name.

        Raises:
            RealtimeError: the server refused it; with the code ``payload_too_large`` it has more
                bytes than the server takes, and wasn't sent.
            RequestTimedOut: no answer came in time.
            ConnectionLost: the connection ended first.
            QueueFull: too many wait already.

        """
        body = request_payload(action, payload, arguments)
        frame_id = next(self._ids)
        key = {"key": uuid4().hex} if retry else {}
        text = encode("request", id=frame_id, resource=resource, payload=body, **key)
        async with time_limit(f"{resource}.{action}", self._seconds(timeout)):
            return await self._requests.ask(frame_id, text, retry=retry)

    async def ping(self, *, timeout: float | None = None) -> None:
        """Have the server answer, which needs nothing of the app.

        Args:
            timeout: How many seconds the answer may take, time offline included.

        Raises:
            RealtimeError: the server refused it, where too many messages came.
            RequestTimedOut: no answer came in time.
            ConnectionLost: the connection ended first.
            QueueFull: too many requests wait already.

        """
        frame_id = next(self._ids)
        async with time_limit("ping", self._seconds(timeout)):
            await self._requests.ask(frame_id, encode("ping", id=frame_id), retry=False)

    def _seconds(self, timeout: float | None) -> float:
        return self._request_timeout if timeout is None else timeout

    # Rooms

    async def subscribe(self, room: str, *, timeout: float | None = None) -> Room:
        """Follow *room*, and come back to it after each reconnect.

        Args:
            room: The room's name.
            timeout: How many seconds the answer may take, time offline included.

        Raises:
            RealtimeError: the server refused it.
            RequestTimedOut: no answer came in time.
            ConnectionLost: the client is disconnected.

        """
        if not is_room_name(room):
            raise ValueError(f"{room!r} can't name a room: write 1 to 256 printable characters")
        self._requests.check_hope()
        return await self._following.subscribe(room, self._seconds(timeout))

    # What the server says

    def _take(self, link: Link, frame: ServerFrame) -> None:
        match frame:
            case ConnectedFrame() if link.connected_at is None:
                try:
                    greeting = msgspec.convert(frame.payload, Greeting)
                except msgspec.ValidationError as error:
                    logger.warning("ignored a greeting that can't be read: %s", error)
                else:
                    self._greeted(link, greeting, frame.payload)
            case EventFrame() if link.connected_at is not None:
                self._following.take(frame)
            # Before the greeting it is about the token, and the end that follows tells why as well.
            case ErrorFrame() if link.connected_at is not None:
                self._hooks.tell("error", frame.payload.error())

    def _greeted(self, link: Link, greeting: Greeting, payload: dict[str, Any]) -> None:
        """Be connected."""
        if greeting.protocol != PROTOCOL_VERSION:
            link.abort(no_version_in_common(f"the server speaks version {greeting.protocol}"))
            return
        link.connected_at = self._backoff.clock()
        link.most_bytes = greeting.max_message_size
        self._tokens.accepted(link.token, greeting.expires_at)
        if greeting.user_id != self.user_id:
            self._following.forget_user()
            if self.user_id is not None:
                self._requests.refuse()
        self.user_id = greeting.user_id
        self.connection_id = greeting.connection_id
        self._state = ConnectionState.CONNECTED
        # Before whoever waits goes on, so that rooms come before requests.
        self._following.greeted(link, greeting.rooms)
        self._requests.opened(link)
        link.tasks.spawn(link.watch(greeting.ping_interval, partial(self._check_token, link)))
        self._hooks.tell("connect", payload)

    # The token on a live connection

    def _check_token(self, link: Link) -> None:
        if self._tokens.take_refresh():
            link.tasks.spawn(self._refresh(link))

    async def _refresh(self, link: Link) -> None:
        """Get a fresh token and show it to the server; if that fails, another time."""
        try:
            await self._show_token(link, await self._tokens.renew("refresh"))
        except Closed as error:
            link.abort(error)
        except ConnectionLost:
            pass  # The next connection shows it.
        except Exception as error:
            logger.info("refreshing the token failed: %r", error)
            self._hooks.tell("error", error)
            self._tokens.postpone_refresh()

    async def _show_token(self, link: Link, token: str) -> None:
        frame_id = next(self._ids)
        text = encode("auth", id=frame_id, payload={"token": token})
        try:
            async with time_limit("auth", self._request_timeout):
                answer = await link.ask(frame_id, text)
        except RealtimeError as error:
            if error.code == "unauthorized":
                self._tokens.refused(token, error.message)
            raise
        link.token = token
        self._tokens.accepted(token, msgspec.convert(answer, Authenticated).expires_at)


connect = Client
"""Reads better where it is used: ``async with connect(url, token) as client``."""
