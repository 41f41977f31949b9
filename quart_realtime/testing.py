"""Test an app's realtime side in process, with no server and no network.

::

    async with realtime_client(app, user_id="ana") as ana:
        await ana.request("messages", "create", conversation_id="42", text="hello")
        data = await ana.expect("new_message")
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from itertools import count
from typing import Any, cast

import msgspec
from attrs import frozen
from quart import Quart
from quart.testing.connections import TestWebsocketConnection, WebsocketResponseError
from quart.typing import TestClientProtocol

from .client_types import RealtimeError
from .endpoint import runtime_of
from .protocol import BEARER_PREFIX, SUBPROTOCOL, Notification, request_payload
from .settings import Settings

__all__ = [
    "HandshakeRefused",
    "RealtimeClient",
    "RecordedEvents",
    "realtime_client",
    "record_events",
]

TIMEOUT = 2.0

Frame = dict[str, Any]


class HandshakeRefused(Exception):
    """The app answered the handshake with an HTTP status instead of opening the websocket.

    Args:
        status: That status; 403 for a foreign Origin.
    """

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status

    def __str__(self) -> str:
        return f"the handshake was refused with HTTP status {self.status}"


class _Socket(TestWebsocketConnection):
    """Quart's test websocket, which from 0.23 on doesn't tell the close code."""

    close_code: int | None = None

    async def _asgi_send(self, message: Any) -> None:
        if message["type"] == "websocket.close":
            self.close_code = message.get("code", 1000)
            await self._receive_queue.put(_CLOSED)
            await self.disconnect()
        else:
            await super()._asgi_send(message)


_CLOSED = "closed"


class RealtimeClient:
    """A client of the app under test; get one from :func:`realtime_client`.

    Whatever it waits for, it waits for *timeout* seconds and then raises AssertionError, telling
    what came instead.

    Attributes:
        connected: The payload of the server's greeting, empty before login.
    """

    def __init__(self, socket: _Socket, timeout: float) -> None:
        self.connected: dict[str, Any] = {}
        self._socket = socket
        self._timeout = timeout
        self._ids = count(1)
        self._unclaimed: list[Frame] = []
        self._arrived = asyncio.Condition()
        self._code: int | None = None
        self._refused: int | None = None

    @property
    def id(self) -> str:
        """The connection's id, as the server tells it."""
        return str(self.connected["connection_id"])

    async def request(
        self,
        resource: str,
        action: str,
        payload: Mapping[str, Any] | None = None,
        /,
        *,
        key: str | None = None,
        **arguments: Any,
    ) -> Any:
        """Ask *resource* to do *action* and return the answer's payload.

        Args:
            resource: Such as ``"messages"``.
            action: Such as ``"create"``.
            payload: Arguments whose names can't be written as keywords.
            key: The idempotency key, for a request that is to run once.
            **arguments: The other arguments.

        Raises:
            RealtimeError: the app answered with an error.
            ValueError: the arguments have an ``action`` of their own.
        """
        body = request_payload(action, payload, arguments)
        frame: Frame = {"type": "request", "resource": resource}
        if key is not None:
            frame["key"] = key
        return await self._ask(frame, body)

    async def subscribe(self, *rooms: str | Mapping[str, Any]) -> list[dict[str, Any]]:
        """Join *rooms*, by name or by position, and return what is told of each."""
        answer = await self._ask({"type": "subscribe"}, {"rooms": list(rooms)})
        return list(answer["rooms"])

    async def unsubscribe(self, *rooms: str) -> None:
        """Leave *rooms*."""
        await self._ask({"type": "unsubscribe"}, {"rooms": list(rooms)})

    async def authenticate(self, token: str) -> dict[str, Any]:
        """Show a token, as the first message or on the live connection."""
        answer = await self._ask({"type": "auth"}, {"token": token})
        if not self.connected:
            await self.wait_connected()
        return dict(answer)

    async def expect(self, event: str, *, room: str | None = None) -> Any:
        """Return the data of the next event of that type, and of that room where it is named."""
        frame = await self._claim(_is_event(event, room), f"event {event!r}")
        return frame["payload"]["data"]

    async def expect_none(self, event: str) -> None:
        """Check that no such event has come by the time the server has answered a ping."""
        ping_id = f"ping-{next(self._ids)}"
        await self.send({"type": "ping", "id": ping_id})
        await self._claim(lambda frame: frame.get("id") == ping_id, "pong")
        for frame in self._unclaimed:
            assert not _is_event(event, None)(frame), f"got an event {event!r}: {frame}"  # noqa: S101  # nosec B101

    async def send(self, frame: Frame | str | bytes) -> None:
        """Send one message as it stands; a dictionary goes as JSON."""
        if isinstance(frame, dict):
            frame = msgspec.json.encode(frame).decode()
        await self._socket.send(frame)

    async def receive(self, kind: str | None = None) -> Frame:
        """Return the next frame that nothing else has claimed, of type *kind* if given."""
        return await self._claim(
            lambda frame: kind is None or frame["type"] == kind, f"{kind or 'any'} frame"
        )

    async def wait_connected(self) -> dict[str, Any]:
        """Wait for the server's greeting, and return its payload."""
        self.connected = (await self.receive("connected"))["payload"]
        return self.connected

    async def wait_closed(self) -> int:
        """Wait until the server closes, and return the close code."""
        await self._wait(lambda: self._code is not None, "close")
        return self._code or 0

    async def _ask(self, frame: Frame, payload: dict[str, Any]) -> Any:
        frame_id = f"test-{next(self._ids)}"
        await self.send({**frame, "id": frame_id, "payload": payload})
        answer = await self._claim(
            lambda frame: frame.get("id") == frame_id, f"answer to {frame['type']}"
        )
        if answer["type"] == "error":
            raise RealtimeError(**answer["payload"])
        return answer["payload"]

    async def _claim(self, wanted: Callable[[Frame], bool], what: str) -> Frame:
        found: list[Frame] = []

        def look() -> bool:
            found.extend(frame for frame in self._unclaimed if wanted(frame))
            return bool(found) or self._code is not None or self._refused is not None

        await self._wait(look, what)
        if self._refused is not None:
            raise HandshakeRefused(self._refused)
        if not found:
            raise AssertionError(
                f"the server closed with {self._code} before {what}; {self._story()}"
            )
        self._unclaimed.remove(found[0])
        return found[0]

    async def _wait(self, done: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(self._timeout), self._arrived:
                await self._arrived.wait_for(done)
        except TimeoutError:
            raise AssertionError(f"no {what} within {self._timeout:g} s; {self._story()}") from None

    def _story(self) -> str:
        return f"unclaimed frames: {self._unclaimed}"

    async def _read(self) -> None:
        """Take in all frames; each `ping` is answered, as every client must."""
        while self._code is None and self._refused is None:
            frame: Frame | None = None
            try:
                text = await self._socket.receive()
            except WebsocketResponseError as error:
                self._refused = error.response.status_code
            else:
                if text is _CLOSED:
                    self._code = self._socket.close_code
                else:
                    frame = msgspec.json.decode(text)
            if frame is not None and frame["type"] == "ping":
                await self.send({"type": "pong"})
                continue
            async with self._arrived:
                if frame is not None:
                    self._unclaimed.append(frame)
                self._arrived.notify_all()


def _is_event(name: str, room: str | None) -> Callable[[Frame], bool]:
    def wanted(frame: Frame) -> bool:
        return (
            frame["type"] == "event"
            and frame["payload"]["type"] == name
            and (room is None or frame.get("room") == room)
        )

    return wanted


@asynccontextmanager
async def realtime_client(
    app: Quart,
    token: str | None = None,
    *,
    user_id: Any = None,
    claims: Mapping[str, Any] | None = None,
    browser: TestClientProtocol | None = None,
    headers: Mapping[str, str] | None = None,
    query: Mapping[str, str] | None = None,
    subprotocols: Sequence[str] = (),
    timeout: float = TIMEOUT,
) -> AsyncIterator[RealtimeClient]:
    """Open a websocket to *app*, in process, over Quart's own test client.

    The app is started if it isn't, and stopped at the end then.

    Args:
        app: The app under test.
        token: The token to connect with, as a browser does; without one, and without *user_id*,
            the client has yet to :meth:`~RealtimeClient.authenticate`.
        user_id: Whom to make a token for instead. Where the app has an ``authenticate`` of its
            own, that isn't asked then; routes see no session of that user.
        claims: The app's own claims in the token that is made for *user_id*.
        browser: A test client of Quart's that has logged in by HTTP: its cookies, and an
            ``Origin`` that the app allows, come with the handshake.
        headers: Further headers of the handshake.
        query: Its query arguments.
        subprotocols: What it offers beside the token and ``realtime.v1``.
        timeout: How many seconds to wait for anything.

    Raises:
        HandshakeRefused: the app answered the handshake with an HTTP status.
        AssertionError: the connection didn't come to be logged in.
        ValueError: there are *claims*, and no *user_id* to make a token for.
    """
    if claims is not None and user_id is None:
        raise ValueError(
            "claims= is of the token that is made for user_id=: write that too, or put the claims "
            "into your own token"
        )
    async with AsyncExitStack() as stack:
        runtime = runtime_of(app)
        if not runtime.started:
            await stack.enter_async_context(cast(Any, app.test_app()))
        if user_id is not None:
            token = await runtime.authenticator.issue(user_id, claims)
        offered = [*subprotocols]
        if token is not None:
            offered += [SUBPROTOCOL, BEARER_PREFIX + token]
        opening = _opening(app, runtime.settings, browser, headers or {}, query or {}, offered)
        socket = await stack.enter_async_context(opening)
        client = RealtimeClient(socket, timeout)
        reader = asyncio.create_task(client._read())
        stack.push_async_callback(_end, reader)
        if token is not None or browser is not None:
            await client.wait_connected()
        yield client


def _opening(
    app: Quart,
    settings: Settings,
    browser: TestClientProtocol | None,
    headers: Mapping[str, str],
    query: Mapping[str, str],
    subprotocols: Sequence[str],
) -> Any:
    """Return Quart's websocket to *app*, not yet open; with the cookies of a *browser*."""
    opener = app.test_client()
    opener.websocket_connection_class = _Socket
    if browser is not None:
        opener.cookie_jar = browser.cookie_jar
        headers = {"Origin": _origin_of_pages(app, settings), **headers}
    return opener.websocket(
        settings.url,
        headers=dict(headers),
        query_string=dict(query),
        scope_base={"subprotocols": subprotocols},  # Its own argument for them has no effect.
    )


def _origin_of_pages(app: Quart, settings: Settings) -> str:
    """Return an origin whose pages may open the websocket, as seen by Quart's test client."""
    if settings.allowed_origins in (None, "*"):
        return f"http://{app.config['SERVER_NAME'] or 'localhost'}"
    return str(min(settings.allowed_origins))


async def _end(reader: asyncio.Task[None]) -> None:
    reader.cancel()
    with suppress(asyncio.CancelledError):
        await reader


@frozen
class RecordedEvents:
    """What an app notified, in order; see :func:`record_events`."""

    notifications: list[Notification]

    def __iter__(self) -> Iterator[Notification]:
        return iter(self.notifications)

    def __len__(self) -> int:
        return len(self.notifications)

    def named(self, event: str) -> list[Notification]:
        """Return those of that type."""
        return [one for one in self.notifications if one.type == event]

    def data(self, event: str) -> list[Any]:
        """Return the data of those of that type."""
        return [one.value() for one in self.named(event)]


@contextmanager
def record_events(app: Quart) -> Iterator[RecordedEvents]:
    """Record what *app* notifies and emits, for a test that needs no socket."""
    recorders = runtime_of(app).recorders
    recorded = RecordedEvents([])
    record = recorded.notifications.append
    recorders.append(record)
    try:
        yield recorded
    finally:
        recorders.remove(record)
