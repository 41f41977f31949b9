"""One socket's life: authenticate, read, dispatch, write, close."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable
from contextvars import Context
from functools import partial
from typing import Any
from uuid import uuid4

from . import frames, protocol
from .errors import (
    Conflict,
    InternalError,
    RateLimited,
    RealtimeError,
    TokenRefused,
    Unauthorized,
    Unavailable,
)
from .frames import Frame
from .greeting import Greeting
from .handshake import Handshake
from .heartbeat import Heartbeat
from .hub import rooms_of_login
from .identity import Identity
from .inbox import Inbox, Refusal
from .jobs import Jobs
from .members import Entry
from .models import dump
from .protocol import (
    Asked,
    Auth,
    CloseCode,
    Message,
    Ping,
    Pong,
    Request,
    State,
    Subscribe,
    Unsubscribe,
)
from .proxies import site_of
from .services import Services
from .subscriptions import Subscriptions
from .transport import PATIENCE, Incoming, Signal, Transport

logger = logging.getLogger("quart_realtime")

HALF_DEAD_PATIENCE = 0.5
"""For how many seconds a client that has missed its heartbeat may take to hear of it."""


class Connection:
    """A client's websocket, or the stream it has in place of one.

    Attributes:
        id: The connection's own name, unique among all processes.
        rooms: The rooms it is in; change them by :meth:`join` and :meth:`leave`.
        state: A dictionary for the app to keep what it likes, as long as the connection lives.
        remote_addr: The peer's address, as the server tells it.
        connected_at: When it was accepted, in seconds since the epoch.

    """

    __slots__ = (
        "__weakref__",
        "_close_code",
        "_greeted",
        "_greeting",
        "_heartbeat",
        "_inbox",
        "_jobs",
        "_loop",
        "_phase",
        "_services",
        "_settings",
        "_subscriptions",
        "_transport",
        "alarm",
        "connected_at",
        "handshake",
        "id",
        "identity",
        "remote_addr",
        "rooms",
        "state",
    )

    def __init__(self, services: Services, transport: Transport, handshake: Handshake) -> None:
        self.id = uuid4().hex
        self.rooms: set[str] = set()
        self.state: dict[str, Any] = {}
        self.remote_addr = handshake.remote_addr
        self.connected_at = time.time()
        self.handshake = handshake
        self.identity: Identity | None = None
        self._services = services
        self._settings = services.settings
        self._transport = transport
        self._phase = State.CONNECTING
        self._greeting: Greeting | None = None
        self._greeted = False
        self._close_code: int | None = None
        self._jobs = Jobs(self._settings.max_requests, services.spawn, self._send_error)
        self._subscriptions = Subscriptions(
            self, services.hub, services, self._settings.send_buffer // 2
        )
        self._inbox = Inbox(self.id, services.limiter, self._settings.max_message_size)
        self.alarm: int | None = None
        self._loop = asyncio.get_running_loop()
        self._heartbeat = Heartbeat(self._settings, self._loop.time(), mute=handshake.one_way)

    def __repr__(self) -> str:
        return f"<Connection {self.id} user={self.user_id!r} {self._phase.value}>"

    @property
    def user_id(self) -> str | None:
        """Who is logged in, None before login."""
        return None if self.identity is None else self.identity.user_id

    @property
    def who(self) -> str:
        """Who is counted: the user, or before login the address, so that no new start is one."""
        if self.identity is not None:
            return self.identity.user_id
        return f"\0{site_of(self.remote_addr) or self.remote_addr}"

    @property
    def claims(self) -> dict[str, Any]:
        """The app's own claims in the current token, or what else it says of the user."""
        return {} if self.identity is None else self.identity.claims

    @property
    def cause(self) -> str:
        """Which connection is left out of what this one tells the others only, by its id."""
        return self.id

    @property
    def pending(self) -> int:
        """How many bytes wait to be written to its client."""
        return self._transport.pending

    # What the app may do with it

    async def join(self, room: str) -> None:
        """Put the connection into *room* on the app's own word; nobody is asked.

        The client is told, and resumes the room by itself after a reconnect.

        Raises:
            BrokerUnavailable: it isn't in the room then.

        """
        if self._phase is not State.OPEN:
            return
        await self._subscriptions.grant(room, self._tell_joined)

    def _tell_joined(self, place: dict[str, Any], entry: Entry) -> None:
        if self._greeting is not None:
            self._greeting.joined(place, entry)
        else:
            self._send_notice(protocol.ROOM_JOINED, place)
            entry.open()

    async def leave(self, room: str) -> None:
        """Take the connection out of *room*, and tell the client."""
        if await self._subscriptions.withdraw(room):
            self._send_notice(protocol.ROOM_LEFT, {"room": room})

    async def send(self, event: str, data: Any) -> None:
        """Send an event to this connection alone; it is in no room's history."""
        protocol.check_event_name(event)
        self._send_notice(event, data)

    async def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Close the connection.

        Args:
            code: 1000, or one from 4000 to 4999; below 4500 the client comes back.
            reason: A few words for the client's log, 123 bytes at most.

        Raises:
            ValueError: an app may not close with that code.

        """
        protocol.check_close_code(code)
        self._close_after_answer(code, reason)

    async def recheck(self) -> None:
        """Close where the token was revoked, and leave the rooms that its user no longer may join.

        Rooms that the app has put it into aren't asked about.
        """
        await self.check_token()
        await self._recheck_rooms()

    async def _recheck_rooms(self) -> None:
        if self._phase is State.OPEN:
            for room in await self._subscriptions.recheck():
                self._send_notice(protocol.ROOM_LEFT, {"room": room})

    # What the hub needs

    def hear(self, text: str) -> None:
        """Take a message that its client has sent beside a stream, which nothing comes in by."""
        if self.handshake.one_way:
            self._take(text)

    def deliver(self, frame: Frame) -> None:
        """Write *frame*, or close where too much waits already."""
        if self._phase is State.OPEN and not self._transport.send(frame):
            self._lag()

    def lose_place(self) -> None:
        """Close, so that the client resumes from its positions."""
        self._come_back(CloseCode.RESYNC, "events were lost")

    def drain(self) -> None:
        """Answer what is in flight, and then close, so that the client comes back elsewhere."""
        if self._phase is State.CONNECTING:
            self.restart()
        else:
            self._jobs.finish(self.restart)

    def restart(self) -> None:
        """Close, so that the client comes back to whoever serves next."""
        self._come_back(CloseCode.RESTART, "the server is stopping")

    def _come_back(self, code: CloseCode, reason: str, within: float | None = None) -> None:
        wait = round((within or self._settings.retry_after) * 1000)
        self._close_soon(code, reason, retry_after_ms=wait)

    def send_away(self, reason: str) -> None:
        """Close, for good: the app wishes it."""
        self._close_after_answer(CloseCode.DISCONNECTED, reason)

    # Its life

    async def run(self) -> None:
        """Live from the accepted handshake to the end."""
        try:
            if not await self._transport.accept(self.handshake.subprotocol):
                return
            if self._services.draining:
                self._come_back(CloseCode.TRY_LATER, "the server is stopping")
            elif self.handshake.unknown_version is not None:
                self._turn_away(self.handshake.unknown_version)
            self.wake()
            code = await self._transport.serve(self._take, self._log_in_by_handshake())
            self._close_code = self._close_code or protocol.code_of_peer(code)
        finally:
            await self._end()

    async def _end(self) -> None:
        self._phase = State.CLOSING
        self._services.wheel.cancel(self)
        self._jobs.clear()
        self._transport.abort()
        self._services.limiter.forget(self.id)
        try:
            await self._services.hub.detach(self)
        finally:
            self._services.gone(self)
        code = self._close_code or CloseCode.ABNORMAL
        self._services.telemetry.ended(self, code, connected=self._greeted)
        if self._greeted:
            self._services.spawn(self._services.farewell(self, code), Context())

    def _close_after_answer(self, code: int, reason: str) -> None:
        """Begin to close, but for a request of this connection's own that asks for it: after it."""
        self._jobs.after_this(lambda: self._close_soon(code, reason))

    def _close_soon(
        self, code: int, reason: str = "", *, retry_after_ms: int | None = None
    ) -> None:
        """Begin to close; whatever comes from the client from now on is ignored."""
        if self._phase is State.CLOSING:
            return
        self._phase = State.CLOSING
        self._close_code = code
        self._jobs.clear()
        self._services.telemetry.closing(self, code, reason)
        frame = frames.closing_frame(code, retry_after_ms)
        if self._services.tap is not None:
            self._services.tap.sent(self, frame)
        self._transport.send(frame, last=True)
        self._services.spawn(self._close(code, reason))

    async def _close(self, code: int, reason: str) -> None:
        text = protocol.close_reason(reason)
        half_dead = code == CloseCode.HEARTBEAT_TIMEOUT
        await self._transport.close(int(code), text, HALF_DEAD_PATIENCE if half_dead else PATIENCE)
        if half_dead:
            await asyncio.sleep(HALF_DEAD_PATIENCE)
            self._transport.abort()

    def _send(self, frame: Frame) -> None:
        if self._services.tap is not None:
            self._services.tap.sent(self, frame)
        if not self._transport.send(frame):
            self._lag()

    def _lag(self) -> None:
        self._close_soon(CloseCode.SLOW_CONSUMER, "too much was waiting")

    def _send_notice(self, kind: str, data: Any) -> None:
        frame = frames.event_frame(protocol.Event(kind, dump(data), protocol.EVERYONE))
        if self._greeting is not None:
            self._greeting.hold(frame)
        else:
            self._answer(frame)

    def _respond(self, frame_id: str, payload: dict[str, Any]) -> None:
        self._answer(frames.response_frame(frame_id, payload))

    def _send_error(self, frame_id: str | None, error: RealtimeError) -> None:
        self._answer(frames.error_frame(frame_id, error))

    def _answer(self, frame: Frame) -> None:
        if self._phase is not State.CLOSING:
            self._send(frame)

    # What comes in

    def _take(self, incoming: Incoming) -> Awaitable[None] | None:
        """Take what the client sends, whatever it is; return what the next has to wait for."""
        if self._phase is State.CLOSING:
            return None
        if self._services.tap is not None:
            self._services.tap.received(self, incoming)
        if incoming is not Signal.CONTROL:  # Plain ASGI doesn't tell of those.
            self._heartbeat.heard(self._loop.time())
        try:
            message = self._inbox.read(incoming, self._phase)
        except Refusal as refusal:
            self._refuse(refusal)
            return None
        return None if message is None else self._handle(message)

    def _refuse(self, refusal: Refusal) -> None:
        if refusal.error is not None:
            self._services.telemetry.refused(self, "message", refusal.error)
            self._send_error(refusal.frame_id, refusal.error)
        if refusal.code is not None:
            self._close_soon(refusal.code, refusal.reason)

    def _handle(self, message: Message) -> Awaitable[None] | None:
        match message:
            case Ping():
                self._send(frames.pong_frame(message.id))
            case Pong():
                self._heartbeat.answered_ping()
            case Auth() if self._phase is State.CONNECTING:
                # Awaited before what the client sends next, which finds it logged in.
                return self._log_in(message.token, message.id)
            case _:
                self._offer(message)
        return None

    def _offer(self, message: Asked) -> None:
        """Have *message* answered, in its turn."""
        try:
            self._jobs.offer(message.id, partial(self._work_on, message))
        except RateLimited as error:
            self._refuse(self._inbox.limited(message.id, error))
        except (Conflict, Unavailable) as error:
            self._send_error(message.id, error)

    async def _work_on(self, message: Asked) -> None:
        try:
            if self._settings.user_rate_limit is not None and not isinstance(message, Auth):
                # But for a fresh token, without which all would end.
                await self._services.count(self)
            match message:
                case Auth():
                    await self._refresh(message)
                case Subscribe():
                    await self._subscribe(message)
                case Unsubscribe():
                    await self._unsubscribe(message)
                case Request():
                    with self._services.running.one(self.who):
                        await self._request(message)
        except RateLimited as error:
            self._refuse(self._inbox.limited(message.id, error))

    async def _request(self, request: Request) -> None:
        answer = await self._services.answer(self, request)
        self._answer(answer.frame(request.id))
        if answer.error_code == Unauthorized.code:
            await self.check_token()

    # Who it is

    def _log_in_by_handshake(self) -> Awaitable[None] | None:
        if not self.handshake.asks or self._phase is not State.CONNECTING:
            return None
        return self._log_in(self.handshake.token, None)

    async def _log_in(self, token: str | None, frame_id: str | None) -> None:
        """Log in by the handshake and its *token*, or by that of the message *frame_id*."""
        try:
            async with self._services.admission.entering():
                if self._phase is not State.CLOSING:
                    await self._enter(token, frame_id)
        except RealtimeError as error:
            self._turn_away(error, frame_id)
        except Exception:
            logger.exception("logging in on connection %s failed", self.id)
            self._turn_away(InternalError("logging in failed"), frame_id)

    async def _enter(self, token: str | None, frame_id: str | None) -> None:
        identity = await self._services.authenticate(self.handshake, token)
        if identity is None:
            if self.handshake.one_way:
                raise TokenRefused("nobody is logged in: a stream can't be logged in on later")
            return
        if self._phase is State.CONNECTING:
            self._accept_token(identity)
        if self._phase is State.CONNECTING:  # It may have ended in this very moment.
            await self._greet(identity, frame_id)

    def _turn_away(self, error: RealtimeError, frame_id: str | None = None) -> None:
        """Tell why nobody is let in, or may stay, and close."""
        self._services.telemetry.refused(self, "login", error)
        self._send_error(frame_id, error)
        code = protocol.code_for_turning_away(error)
        if code is CloseCode.TRY_LATER:
            self._come_back(code, str(error), getattr(error, "retry_after", None))
        else:
            self._close_soon(code, str(error))

    async def _greet(self, identity: Identity, frame_id: str | None) -> None:
        """Take the user in, run the app's hooks, and only then tell the client."""
        self._phase = protocol.TRANSITIONS[self._phase][Auth]
        user_id = identity.user_id
        limit = self._settings.max_connections_per_user
        # From now on commands to its user reach it; what they tell it comes after the greeting.
        self._greeting = Greeting()
        if await self._services.hub.attach(self, user_id) > limit:
            self._close_soon(CloseCode.TOO_MANY_CONNECTIONS, f"at most {limit} for one user")
            await self._services.hub.detach(self)
            return
        for room in rooms_of_login(user_id):
            await self.join(room)
        if self._phase is State.CLOSING:
            # It may even have ended, too early for its end to see it in the hub.
            await self._services.hub.detach(self)
            return
        await self._services.greet(self)
        self._greeted = True
        # A fresh token may have come meanwhile.
        self._finish_greeting(self.identity or identity, frame_id)

    def _finish_greeting(self, identity: Identity, frame_id: str | None) -> None:
        """Tell the client that it is connected, and only then what has happened meanwhile."""
        if frame_id is not None:
            self._respond_to_auth(frame_id, identity)
        greeting, self._greeting = self._greeting or Greeting(), None
        self._answer(greeting.welcome(self.id, identity, self._settings))
        self._services.telemetry.connected(self)
        greeting.release(self._answer)

    def _respond_to_auth(self, frame_id: str, identity: Identity) -> None:
        told = {"user_id": identity.user_id, "expires_at": identity.expires_at}
        self._respond(frame_id, told)

    async def _refresh(self, message: Auth) -> None:
        """Take a fresh token for the same user on the live connection."""
        identity = await self._services.authenticate(self.handshake, message.token)
        if identity is None or identity.user_id != self.user_id:
            raise Unauthorized("this connection belongs to another user: open a new one")
        other_claims = identity.claims != self.claims
        self._accept_token(identity)
        self._respond_to_auth(message.id, identity)
        if other_claims:
            await self.recheck()

    def _accept_token(self, identity: Identity) -> None:
        self.identity = identity
        self._heartbeat.logged_in(self._loop.time(), identity.remaining())
        self.wake()

    async def check_token(self) -> None:
        """Close where the token would no longer be accepted; look at rooms where it says more."""
        identity = self.identity
        if identity is None or self._phase is not State.OPEN:
            return
        try:
            fresh = await self._services.check_again(self.handshake, identity)
        except TokenRefused as error:
            # It may have been refreshed meanwhile.
            if self.identity is not None and self.identity.token == identity.token:
                self._turn_away(error)
        except Exception:
            # Not knowing is no reason to throw somebody out; the next check will tell.
            logger.exception("looking at the token of connection %s again failed", self.id)
        else:
            if self.identity is identity:
                self.identity = fresh
                # Else it ends by the clock that it has, which nobody sets.
                if fresh.expires_at != identity.expires_at and self._phase is State.OPEN:
                    self._accept_token(fresh)
                if fresh.claims != identity.claims:
                    await self._recheck_rooms()

    # Rooms, at the client's wish

    async def _subscribe(self, message: Subscribe) -> None:
        await self._subscriptions.subscribe(message.rooms, partial(self._respond, message.id))

    async def _unsubscribe(self, message: Unsubscribe) -> None:
        respond = partial(self._respond, message.id, {"rooms": message.rooms})
        await self._subscriptions.unsubscribe(message.rooms, respond)

    # Time

    def wake(self) -> None:
        """Do what is due by now, and set the alarm for what comes next."""
        if self._phase is State.CLOSING:
            return
        now = self._loop.time()
        overdue = self._heartbeat.overdue(now)
        if overdue is not None:
            self._close_soon(overdue)
            return
        if self._heartbeat.wants_ping(now):
            if self._transport.is_stalled():
                # It may well answer pings, without reading any.
                self._lag()
                return
            self._ping()
        self._services.wheel.set(self, self._heartbeat.next_deadline())

    def _ping(self) -> None:
        self._answer(frames.PING)
        if self._phase is State.OPEN and self._services.token_may_be_revoked():
            self._services.spawn(self.check_token())
