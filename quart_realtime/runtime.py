"""One app's live side: what :class:`~quart_realtime.Realtime` starts with it and stops."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from contextvars import Context
from typing import Any, cast

from attrs import frozen
from quart import Quart, current_app, has_app_context

from .admission import Admission, Turnstile
from .bookmark import Places
from .broker import Broker, BrokerHealth, MemoryBroker, Once, Presence
from .broker_url import Kind, parse_broker_url
from .connection import Connection
from .custom_auth import CallableAuthenticator
from .deadline import contained
from .dispatch import Dispatcher
from .errors import RoomForbidden, SetupError, TokenRefused
from .frames import Answer
from .handshake import Handshake
from .hub import Hub, user_room
from .identity import Authenticator, Identity
from .inspector import Inspector
from .lag import LagMeter
from .limits import HandshakeLimiter, MessageLimiter, Running, UserLimiter
from .metrics import make_metrics
from .models import dump_as
from .protocol import Event, HistoryPolicy, Notification, Request, new_event_id
from .registry import HistoryPolicies, Registry
from .results import error_of
from .routes import Resolved
from .servers import Transports
from .services import Tap
from .settings import Settings
from .startup import check
from .stopping import give_time, say_goodbye, stop_signal
from .streaming import StreamTransport
from .telemetry import Telemetry
from .transport import Receive, Send, Transport
from .wheel import TimerWheel

logger = logging.getLogger("quart_realtime")

SAMPLE_EVERY = 1.0
"""Every how many seconds the metrics learn how the broker and the event loop are."""
CANCEL_TIMEOUT = 1.0
"""For how many seconds a task that was cancelled may take to end."""


@frozen
class Health:
    """How one process is.

    Args:
        connections: How many connections there are, logged in or not.
        draining: Whether it takes no more.
        failed_events: How many events that a route emits could not go out.
        lag: By how many seconds the event loop was late a moment ago.
        broker: How its broker is.
    """

    connections: int
    draining: bool
    failed_events: int
    lag: float
    broker: BrokerHealth


class Runtime:
    """The broker, the hub, the connections and the tasks of one app.

    Args:
        app: The app.
        registry: What was declared for it.
        settings: Its configuration.
    """

    def __init__(self, app: Quart, registry: Registry, settings: Settings) -> None:
        self.app = app
        self.registry = registry
        self.place = "?"
        """Where the app was joined, for an error message."""
        self.settings = settings
        self.authenticator = make_authenticator(app, registry, settings)
        self.proxies = settings.proxies
        self.turnstile = Turnstile()
        self.handshake_limiter = HandshakeLimiter(settings.handshake_rate_limit)
        self.limiter = MessageLimiter(settings.rate_limit)
        self.telemetry = Telemetry(make_metrics())
        self.lag = LagMeter()
        default = HistoryPolicy(settings.history_size, settings.history_ttl)
        self.hub = Hub(
            make_broker(settings.broker_url),
            HistoryPolicies(registry, default),
            settings.send_buffer // 4,
            self.telemetry.metrics,
        )
        self.tap: Tap | None = None
        self.inspector = Inspector(self.hub, lambda: self._connections, self._set_tap)
        self.user_limiter = UserLimiter(self.hub.broker, settings.user_rate_limit)
        self.recorders: list[Callable[[Notification], None]] = []
        self.failed_events = 0
        self._dispatcher: Dispatcher | None = None
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self.draining = False
        self.wheel = TimerWheel()
        self.admission = self._new_admission()
        self.running = Running(settings.max_requests * settings.max_connections_per_user)
        self._transports = Transports(settings)
        self._all_gone = asyncio.Event()
        self._sampling: asyncio.Task[None] | None = None
        self._stop_watch: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._stopped = False

    # Its life

    @property
    def started(self) -> bool:
        """Whether it serves."""
        return self._dispatcher is not None

    def _new_admission(self) -> Admission:
        # Whoever waits is told to come back before its time to log in is over.
        patience = self.settings.auth_timeout / 2
        return Admission(lambda: self.lag.now, self.settings.retry_after, patience)

    async def start(self) -> None:
        """Check what was declared, and begin to serve; nothing happens the second time.

        Raises:
            SetupError: the app is put together wrongly. It lists every mistake.
        """
        async with self._starting:
            if self.started:
                return
            resolved, natives, intakes = check(
                self.app, self.registry, self.settings, self.authenticator
            )
            # Anew: these hold to the event loop that they are used in.
            self.wheel = TimerWheel()
            self.admission = self._new_admission()
            self.turnstile = Turnstile()
            self._transports = Transports(self.settings)
            self.hub.catch_up = self._transports.catch_up
            await self.hub.start()
            self.draining = False
            self._dispatcher = Dispatcher(
                self.app,
                resolved,
                natives,
                intakes,
                self.settings,
                self.hub.broker,
                self.authenticator,
                self.user_limiter,
                self.telemetry,
            )
            self._stopped = False
            self.lag.start()
            self._sampling = asyncio.get_running_loop().create_task(self._sample())

    async def _sample(self) -> None:
        while True:
            lag = self.lag.take_most()
            self.telemetry.sample(self.hub.broker.health, lag)
            self.inspector.sample(lag)
            await asyncio.sleep(SAMPLE_EVERY)

    async def ensure_started(self) -> None:
        """Start where nobody has, as under a server without lifespan events."""
        if self._stopped:
            raise RuntimeError("the app has stopped: nothing can be sent or served any more")
        await self.start()

    async def stop(self) -> None:
        """Send all clients away to come back, and end what runs.

        All of it takes ``QUART_REALTIME_DRAIN_TIMEOUT`` and a moment at most.
        """
        if not self.started:
            return
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.settings.drain_timeout
        await self.drain()
        self.lag.stop()
        for task in (self._stop_watch, self._sampling):
            if task is not None:
                task.cancel()
        self._stop_watch = self._sampling = None
        if self._tasks:
            left = max(deadline - loop.time(), CANCEL_TIMEOUT)
            _, late = await asyncio.wait(self._tasks, timeout=left)
            for task in late:
                task.cancel()
            if late:
                _, deaf = await asyncio.wait(late, timeout=CANCEL_TIMEOUT)
                for task in deaf:
                    logger.warning("gave up on %r, which doesn't end when it is cancelled", task)
        await self.hub.stop()
        self._dispatcher = None
        self._stopped = True

    async def drain(self) -> None:
        """Take no more connections, and send away those there are, each when it is answered.

        It returns when all have gone, or ``QUART_REALTIME_DRAIN_TIMEOUT`` is over.
        """
        self.draining = True
        for connection in list(self._connections):
            connection.drain()
        if self._connections:
            self._all_gone.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self.settings.drain_timeout):
                    await self._all_gone.wait()
        for connection in list(self._connections):
            connection.restart()

    def _watch_server(self, send: Send) -> None:
        """Drain as soon as the server begins to stop, where it can be known."""
        stop = None if self._stop_watch is not None else stop_signal(send)
        if stop is not None:
            give_time(send, self.settings.drain_timeout + CANCEL_TIMEOUT)
            watch = say_goodbye(stop, self._say_goodbye)
            self._stop_watch = asyncio.get_running_loop().create_task(watch)

    async def _say_goodbye(self) -> None:
        logger.info("the server is stopping: sending %d clients away", len(self._connections))
        await self.drain()

    def spawn(self, work: Coroutine[Any, Any, None], context: Context | None = None) -> None:
        """Run *work* in a task that the app owns, so that it outlives the connection."""
        task = asyncio.get_running_loop().create_task(work, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def connect(self, handshake: Handshake, receive: Receive, send: Send) -> Connection:
        """Return the connection that *handshake* opens, for the caller to run."""
        return self._begin(handshake, await self.take_in(receive, send))

    async def connect_stream(
        self, handshake: Handshake, places: Places, send: Send
    ) -> tuple[Connection, StreamTransport]:
        """Return the connection that a request for a stream opens, to be run, and its stream.

        Whoever asks for it stood at *places* before.
        """
        await self.ensure_started()
        self._watch_server(send)
        stream = self._transports.stream(send, places)
        return self._begin(handshake, stream), stream

    def _begin(self, handshake: Handshake, transport: Transport) -> Connection:
        connection = Connection(self, transport, handshake)
        self._connections.add(connection)
        self.telemetry.begun()
        return connection

    async def take_in(self, receive: Receive, send: Send) -> Transport:
        """Return the transport of a socket whose handshake was decided about."""
        await self.ensure_started()
        self._watch_server(send)
        return self._transports.make(receive, send)

    def _set_tap(self, tap: Inspector | None) -> None:
        self.tap = self.hub.tap = tap

    def gone(self, connection: Connection) -> None:
        """Let go of a connection that has ended."""
        self._connections.discard(connection)
        self.inspector.closed()
        if not self._connections:
            self._all_gone.set()

    def health(self) -> Health:
        """Return how this process is."""
        return Health(
            len(self._connections),
            self.draining,
            self.failed_events,
            self.lag.now,
            self.hub.broker.health,
        )

    def resolved(self) -> list[Resolved]:
        """Return what answers requests, by name."""
        handlers = () if self._dispatcher is None else self._dispatcher.resolved.values()
        return sorted(handlers, key=lambda item: item.handler.name)

    def connections(self, room: str | None = None) -> list[Connection]:
        """Return this process's connections that are logged in, or those in *room*."""
        return cast("list[Connection]", self.hub.subscribers(room))

    async def presence(self, room: str) -> list[Presence]:
        """Return who is in *room*; of a user's own room, the user's connections."""
        user_id = room.removeprefix(user_room(""))
        if user_id != room and not self.has_presence(room):
            return await self.hub.logins(user_id)
        return await self.hub.present(room)

    # What connections need

    async def authenticate(self, handshake: Handshake, token: str | None) -> Identity | None:
        """Return who shows *token*, None for nobody yet, or raise TokenRefused."""
        return await self.authenticator.check(handshake, token)

    async def check_again(self, handshake: Handshake, identity: Identity) -> Identity:
        """Return *identity* as it is now, or raise TokenRefused where it counts no longer."""
        return await self.authenticator.check_again(handshake, identity)

    def token_may_be_revoked(self) -> bool:
        """Whether tokens that were good are to be looked at again."""
        return self.authenticator.can_be_revoked()

    async def count(self, connection: Connection) -> None:
        """Count one thing that the connection's user asks for, or raise RateLimited."""
        await self.user_limiter.check(connection.who)

    async def answer(self, connection: Connection, request: Request) -> Answer:
        """Have *request* answered; whatever goes wrong is an answer too, but for a limit."""
        return await self._serving().answer(connection, request)

    def has_presence(self, room: str) -> bool:
        """Tell whether *room* tells who is in it."""
        found = self.registry.find_room(room)
        return found is not None and found[0].presence

    def let_in(self, connection: Connection, told: list[dict[str, Any]], resumed: set[str]) -> None:
        """Count the rooms that a client has resumed, and tell of those that it may not join."""
        refused = []
        for place in told:
            if "error" in place:
                if place["error"]["code"] == RoomForbidden.code:
                    refused.append(place["room"])
            elif place["room"] in resumed:
                self.telemetry.metrics.resumed(place["recovered"])
        if refused:
            self.telemetry.rooms_refused(connection, refused)

    async def admit(self, connection: Connection, room: str) -> None:
        """Raise RoomForbidden where the client of *connection* may not join *room*."""
        found = self.registry.find_room(room)
        if found is None:
            raise RoomForbidden(room)
        rule, variables = found
        arguments = rule.arguments(variables)
        if arguments is None:
            raise RoomForbidden(room)
        try:
            await self._serving().look_again(connection)
            allowed = await self._serving().run_hook(connection, rule.may_join, **arguments)
        except TokenRefused:
            self.spawn(connection.check_token())
            allowed = False
        except Exception as error:
            allowed = False
            if await error_of(error) is not None:
                raise RoomForbidden(room) from None
            logger.exception("asking whether room %r may be joined failed", room)
        if allowed is not True:
            if not isinstance(allowed, bool):
                logger.warning(
                    "the authoriser of room pattern %r returned %r; only True lets anybody in",
                    rule.pattern,
                    allowed,
                )
            raise RoomForbidden(room)

    async def greet(self, connection: Connection) -> None:
        """Run the ``on_connect`` hooks; what they raise turns the connection away."""
        for hook in self.registry.connect_hooks:
            try:
                await self._serving().run_hook(connection, hook, connection)
            except Exception as error:
                told = await error_of(error)
                if told is None:
                    raise
                raise told from error

    async def farewell(self, connection: Connection, code: int) -> None:
        """Run the ``on_disconnect`` hooks."""
        for hook in self.registry.disconnect_hooks:
            try:
                await self._serving().run_hook(connection, hook, connection, code)
            except Exception:
                logger.exception("the on_disconnect hook %s failed", hook.__qualname__)

    # The one way out for an event

    async def publish(
        self,
        name: str,
        data: Any,
        rooms: list[str],
        exclude: str | None,
        key: str | None = None,
    ) -> None:
        """Send an event to *rooms*, and have the server-side listeners hear it.

        Raises:
            InvalidPayload: the data isn't what is declared for the event.
            TypeError: the data has no JSON form.
            BrokerUnavailable: it did not go out.
        """
        await self.ensure_started()
        declared = self.registry.events.get(name)
        encoded = dump_as(None if declared is None else declared.schema, data)
        history = declared is None or declared.history
        event_id = new_event_id()
        once = None if key is None else Once(key, self.settings.idempotency_ttl)
        for room in rooms:
            event = Event(name, encoded, room, event_id, exclude=exclude)
            await self.hub.publish(event, history=history, once=once)
        if rooms:
            notification = Notification(name, encoded, tuple(rooms))
            for record in self.recorders:
                record(notification)
            await self._tell_listeners(notification)

    async def _tell_listeners(self, notification: Notification) -> None:
        listeners = self.registry.listeners.get(notification.type, ())
        if not listeners:
            return
        async with self.app_context():
            for listener in listeners:
                try:
                    await contained(self.app.ensure_async(listener)(notification))
                except Exception:
                    name = listener.__qualname__
                    logger.exception("the listener %s to %s failed", name, notification.type)

    def app_context(self) -> AbstractAsyncContextManager[Any]:
        """Return this app's context where there is none yet, as in a background thread's task."""
        if has_app_context() and current_app._get_current_object() is self.app:  # type: ignore
            return nullcontext()
        return cast("AbstractAsyncContextManager[Any]", self.app.app_context())

    def _serving(self) -> Dispatcher:
        if self._dispatcher is None:
            raise RuntimeError("the app has stopped")
        return self._dispatcher


def make_authenticator(app: Quart, registry: Registry, settings: Settings) -> Authenticator:
    """Return what tells who *app*'s clients are: the function given to Realtime, or its tokens."""
    if registry.login is not None:
        return CallableAuthenticator(app, registry.login, settings)
    from .auth import JWTAuthenticator  # An app that has another way to log in needs none of it.

    return JWTAuthenticator(app)


def make_broker(url: str) -> Broker:
    """Return the broker at *url*, not yet started.

    Raises:
        SetupError: what it needs isn't installed, or an option of the URL is unknown.
    """
    parsed = parse_broker_url(url)
    if parsed.kind is Kind.MEMORY:
        return MemoryBroker()
    try:
        from .redis_broker import RedisBroker
    except ImportError as error:
        raise SetupError(
            f"QUART_REALTIME_BROKER_URL needs a package that isn't there ({error}): "
            'pip install "quart-realtime[redis]".'
        ) from error
    return RedisBroker(parsed)
