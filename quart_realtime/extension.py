"""The extension: its decorators, and how it joins an app."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Literal, TypeVar, cast
from weakref import WeakSet

from quart import (
    Blueprint,
    Quart,
    Response,
    current_app,
    has_app_context,
    has_request_context,
    request,
)

from .broker import Presence
from .connection import Connection
from .context import connection_or_none
from .custom_auth import checked_login
from .emissions import (
    arguments_of,
    checked_rooms,
    data_of,
    declared_rooms,
    rooms_of,
    settled,
)
from .endpoint import EXTENSION, check_endpoint, handing_over, make_blueprint
from .errors import RealtimeError, SetupError
from .fallback import with_streams
from .models import check_type, to_builtins
from .options import EMISSION, EXPOSURE, check_options
from .protocol import HistoryPolicy, check_event_name, check_key
from .registry import (
    AnyFunction,
    Emission,
    EventType,
    Exposure,
    Handler,
    Registry,
    RoomRule,
    RoomSource,
    called,
    calling_line,
    describe,
    refuse_bare,
)
from .results import is_success, value_of
from .route_requests import note_errors
from .runtime import Health, Runtime
from .settings import Settings
from .visit import CONNECTION_HEADER

logger = logging.getLogger("quart_realtime")

F = TypeVar("F", bound=AnyFunction)


class Realtime:
    """Gives an app's routes a websocket, and its changes an audience.

    Args:
        app: The app to join now; left out, :meth:`init_app` joins it later. Declarations may
            come before or after, until the app starts to serve.
        authenticate: A function of the app's own that says who a client is, in place of
            Quart-JWT-Extended's tokens. It runs in a websocket context made from the handshake, so
            that ``quart.session``, ``quart.websocket`` and Quart-Auth's ``current_user`` are
            there, and may take one argument: the token of the subprotocol ``bearer.…``, of
            ``Authorization: Bearer`` or of an ``auth`` message, None where there is none. It
            returns the user's id, an :class:`~quart_realtime.Identity`, or None for nobody: who
            has shown a token or a cookie is refused then, and who hasn't may still send ``auth``.
            Raising :class:`~quart_realtime.Unauthorized` refuses at once. Whatever else it raises
            is logged, and lets nobody in. It is asked at the handshake, for each ``auth``
            message, at each ping (``QUART_REALTIME_PING_INTERVAL``), by :meth:`recheck`, and
            after an answer that was ``unauthorized``; not for each request, since routes look at
            the session themselves. Nothing is cached.
        cookies: Whether cookies, and so sessions, count for *authenticate*: beside an allowed
            ``Origin`` alone. False for apps that know tokens only, whose
            ``QUART_REALTIME_ALLOWED_ORIGINS`` may then be ``"*"``.

    Raises:
        SetupError: *authenticate* can't be called so, or what :meth:`init_app` raises it for.
    """

    def __init__(
        self,
        app: Quart | None = None,
        *,
        authenticate: AnyFunction | None = None,
        cookies: bool = True,
    ) -> None:
        login = None if authenticate is None else checked_login(authenticate, cookies=cookies)
        self._registry = Registry(login)
        self._apps: WeakSet[Quart] = WeakSet()
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Quart) -> None:
        """Join *app*: read ``QUART_REALTIME_…`` and register the websocket's blueprint.

        Raises:
            SetupError: a setting is wrong, this app has a Realtime already, or it is a QuartTrio.
        """
        if any(each.__module__.partition(".")[0] == "quart_trio" for each in type(app).__mro__):
            raise SetupError(
                f"Quart-Realtime runs on asyncio, and the app {app.name!r} at {calling_line()} is "
                "a QuartTrio: write app = Quart(__name__), with Quart of quart, and serve it "
                "without --worker-class trio."
            )
        if EXTENSION in app.extensions:
            raise SetupError(
                f"This app has a Realtime already, by {app.extensions[EXTENSION].place}: leave out "
                f"{calling_line()}, and use that one everywhere."
            )
        runtime = Runtime(app, self._registry, Settings.from_config(app.config))
        runtime.place = calling_line()
        app.extensions[EXTENSION] = runtime
        self._apps.add(app)
        note_errors(app)
        if RealtimeError not in app.error_handler_spec[None][None]:
            app.register_error_handler(RealtimeError, _answer_http)
        app.register_blueprint(make_blueprint(runtime))
        app.asgi_websocket_class = handing_over(app.asgi_websocket_class)
        app.asgi_http_class = with_streams(app.asgi_http_class, runtime)

        @app.before_serving
        async def start() -> None:
            check_endpoint(app)
            await runtime.start()

        app.after_serving(runtime.stop)

    @property
    def declarations(self) -> Registry:
        """What was declared: handlers, events and rooms."""
        return self._registry

    # Requests

    def handler(
        self,
        resource: str,
        action: str = "",
        *,
        login: bool = True,
        timeout: float | None = None,
        rate_limit: str | None = None,
        endpoint: str | Literal[False] | None = None,
        method: str | None = None,
    ) -> Callable[[F], F]:
        """Have the decorated function answer websocket requests.

        A function that is a route's view, or is wrapped by one, answers through that route, with
        all its decorators and hooks, wherever in the stack this one stands. Any other is called
        with arguments out of the payload by name, converted to their annotations; a parameter
        ``data`` takes the payload whole.

        Args:
            resource: The request's ``resource``, such as ``"messages"``.
            action: The request's ``payload.action``, such as ``"create"``.
            login: Whether the connection must be logged in.
            timeout: Seconds until the request is answered ``timeout``; the app's
                ``QUART_REALTIME_REQUEST_TIMEOUT`` by default.
            rate_limit: How often one user may ask, as ``"5/minute"``.
            endpoint: Which endpoint is meant where several have this view; False for none.
            method: Which HTTP method is meant where the endpoint answers several.

        Raises:
            SetupError: resource and action are taken, or a value can't be. A route that can't be
                made out shows when the app starts.
        """
        refuse_bare("handler", '"messages", "create"', "a resource and an action", resource)

        def register(function: F) -> F:
            self._registry.add_handler(
                Handler(resource, action, function, login, timeout, rate_limit, endpoint, method)
            )
            return function

        return register

    def expose(self, blueprint: Blueprint, resource: str = "", *, login: bool = True) -> None:
        """Have every CRUD route of *blueprint* answer websocket requests.

        The collection's GET and POST become ``get_all`` and ``create``, an item's GET, PUT or
        PATCH, and DELETE become ``get``, ``update`` and ``delete``. Other routes are left alone,
        and a view with :meth:`handler` of its own keeps to that.

        Args:
            blueprint: Whose routes.
            resource: The requests' ``resource``; of a blueprint with several collections, the
                one that is meant.
            login: Whether the connection must be logged in.
        """
        if callable(blueprint):
            raise SetupError(
                f"{describe(blueprint)} is no blueprint: write realtime.expose(blueprint, "
                '"messages") in a line of its own, or @realtime.handler above a function.'
            )
        check_options(
            f"expose at {calling_line()}",
            EXPOSURE,
            blueprint=blueprint,
            resource=resource,
            login=login,
        )
        self._registry.exposures.append(Exposure(blueprint, resource, login, calling_line()))

    # Events

    def event(
        self, name: str, schema: Any = None, *, room: RoomSource = None, history: bool = True
    ) -> None:
        """Declare an event.

        Args:
            name: The event's type.
            schema: What its data must be: any type that msgspec or pydantic checks.
            room: Where it goes unless told otherwise, as in :meth:`emits`.
            history: Whether rooms keep it for those who return; False for what is worth nothing
                a moment later, such as that somebody is typing.
        """
        room = declared_rooms(name, room)
        try:
            check_type(Any if schema is None else schema)
        except TypeError as error:
            raise SetupError(
                f"The event {name!r} at {calling_line()} can't be checked against that: {error}. "
                "Name an attrs class, a dataclass, a pydantic model or a builtin."
            ) from None
        self._registry.add_event(EventType(name, schema, room, history, calling_line()))

    def emits(
        self,
        event: str,
        *,
        room: RoomSource = None,
        data: str | AnyFunction | None = None,
        when: AnyFunction | None = None,
        others_only: bool = False,
    ) -> Callable[[F], F]:
        """Have an event go out each time the decorated view has succeeded.

        The view's response stays as it is, also when the event can't be sent.

        Args:
            event: The event's type.
            room: A template filled from the event's data, then from the view's arguments
                (``"conversation:{message.conversation_id}"``), a callable of the data, or a list
                of templates; the event's declared room by default, or else everyone.
            data: A key of the view's result, or a callable of it; the whole result by default,
                and the view's arguments where it has no body.
            when: Called with the view's result; the event goes out if it returns true.
            others_only: Whether the connection that caused it is left out.

        The callables may be coroutine functions.
        """
        refuse_bare("emits", '"new_message"', "the name of the event", event)
        room = declared_rooms(event, room)
        check_options(
            f"emits({event!r}) at {calling_line()}",
            EMISSION,
            data=data,
            when=when,
            others_only=others_only,
        )

        def wrap(function: F) -> F:
            call = called(function)

            @wraps(function)
            async def emitting(*args: Any, **kwargs: Any) -> Any:
                result = await current_app.ensure_async(call)(*args, **kwargs)
                await self._emit(emission, result, arguments_of(function, args, kwargs))
                return result

            emission = Emission(event, function, emitting, room, data, when, others_only)
            self._registry.emissions.append(emission)
            return cast(F, emitting)

        return wrap

    async def _emit(self, emission: Emission, result: Any, arguments: Mapping[str, Any]) -> None:
        runtime = self._runtime()
        try:
            value, status = await value_of(result)
            if not is_success(status):
                return
            if emission.when is not None and not await settled(emission.when(value)):
                return
            data = await data_of(emission, value, arguments)
            source = self._registry.rooms_of_event(emission.event, emission.room)
            rooms = await rooms_of(source, data, arguments)
            exclude = _own_connection() if emission.others_only else None
            await runtime.publish(emission.event, data, rooms, exclude)
        except Exception:
            # The change is made and the response stands: losing it too would help nobody.
            runtime.failed_events += 1
            logger.exception("the event %s could not be emitted", emission.event)

    async def notify(
        self,
        event: str,
        data: Any,
        *,
        room: RoomSource = None,
        others_only: bool = False,
        key: str | None = None,
    ) -> None:
        """Send an event, from anywhere in the app.

        Args:
            event: The event's type.
            data: What it carries: anything that has a JSON form, by msgspec or by the ``default``
                of the app's own JSON provider. Its keys stay as they are, whatever the casing
                that Quart-Schema converts a route's to.
            room: A room, a list of rooms, or a callable of the data that returns either; the
                event's declared room by default, or else everyone. ``user:`` and an id is one
                user. It is taken as it is: what isn't filled in stays as it stands.
            others_only: Whether the connection whose request is running is left out.
            key: 1 to 64 characters. What is sent to a room again under the same key within
                ``QUART_REALTIME_IDEMPOTENCY_TTL`` is not sent, so that it may be tried again
                after a BrokerUnavailable.

        Raises:
            InvalidPayload: the data isn't what is declared for the event.
            EmissionError: that can't name a room, or the declared room's template can't be
                filled from the data.
            ValueError: that can't name an event, or be a key; or the event is declared nowhere, no
                room is said, and its name is close to another's.
            BrokerUnavailable: it isn't known to have gone out, within 2 seconds.
        """
        check_event_name(event)
        check_key(key)
        runtime = self._runtime()
        async with runtime.app_context():  # Its JSON provider may have a word to say.
            plain = to_builtins(data)
        if room is None:
            self._registry.check_spelling(event)
            rooms = await rooms_of(self._registry.rooms_of_event(event, None), plain, {})
        else:
            said = await settled(room(plain)) if callable(room) else room
            rooms = checked_rooms([said] if isinstance(said, str) else said)
        exclude = _own_connection() if others_only else None
        await runtime.publish(event, plain, rooms, exclude, key)

    def on(self, event: str) -> Callable[[F], F]:
        """Have the decorated function hear an event on the server.

        It is called with the :class:`~quart_realtime.Notification` after the event has gone out to
        its rooms, in the process that sent it; what it raises is logged.
        """
        refuse_bare("on", '"new_message"', "the name of the event", event)

        def register(function: F) -> F:
            self._registry.listeners.setdefault(event, []).append(function)
            return function

        return register

    # Rooms

    def room(
        self, pattern: str, *, presence: bool = False, history: HistoryPolicy | int | None = None
    ) -> Callable[[F], F]:
        """Have the decorated function say who may join the rooms of *pattern*.

        It is called with the pattern's variables, ``current_connection`` and the JWT identity at
        hand, and lets the client in by returning True. A room of no pattern can't be joined from
        outside.

        Args:
            pattern: Such as ``"conversation:<conversation_id>"``; ``<int:name>`` takes
                whole numbers without leading zeros and gives an int, ``<path:name>`` colons too.
            presence: Whether its members see who is there.
            history: How many events, or which :class:`~quart_realtime.HistoryPolicy`, it keeps
                for those who return; 0 for none; the app's setting by default.
        """
        refuse_bare("room", '"conversation:<conversation_id>"', "the pattern", pattern)

        def register(function: F) -> F:
            self._registry.add_room(RoomRule(pattern, function, presence, history))
            return function

        return register

    # Connections

    def on_connect(self, function: F) -> F:
        """Have *function* called with each connection that has logged in.

        It runs before the client is told that it is connected. A
        :class:`~quart_realtime.RealtimeError` or ``abort`` turns the client away, for a while if
        it is :class:`~quart_realtime.Unavailable`; anything else is logged, and has the client
        try again later.
        """
        self._registry.connect_hooks.append(function)
        return function

    def on_disconnect(self, function: F) -> F:
        """Have *function* called with each connection that has ended, and its close code.

        Connections that an ``on_connect`` hook turned away don't count.
        """
        self._registry.disconnect_hooks.append(function)
        return function

    def connections(self, room: str | None = None) -> list[Connection]:
        """Return this process's connections that are logged in, or those of them in *room*."""
        return self._runtime().connections(room)

    async def disconnect(self, user_id: str, *, reason: str = "disconnected by the app") -> None:
        """Close all connections of a user, on every process; they don't come back by themselves.

        Args:
            user_id: Whose.
            reason: A few words for the client's log, 123 bytes at most.
        """
        await self._runtime().hub.command(do="disconnect", user_id=str(user_id), reason=reason)

    async def join(self, user_id: str, room: str) -> None:
        """Put all connections of a user into *room*, on every process; nobody is asked."""
        await self._runtime().hub.command(do="join", user_id=str(user_id), room=room)

    async def leave(self, user_id: str, room: str) -> None:
        """Take all connections of a user out of *room*, on every process."""
        await self._runtime().hub.command(do="leave", user_id=str(user_id), room=room)

    async def recheck(self, user_id: str) -> None:
        """Have a change of what a user may do take effect on all connections, on every process.

        Connections whose token was revoked are closed with 4500. The authorisers of the rooms that
        the others have joined by themselves are asked again, and whoever no longer may be there is
        put out, as is one whose authoriser fails. Rooms joined by :meth:`join` are the app's own
        affair. It returns when this process has done so; others follow as fast as Redis tells them.

        Without it a revoked token is noticed with the next request, and within
        ``QUART_REALTIME_PING_INTERVAL`` at the latest; a change of rooms with the next
        ``subscribe``, and with the next token that has other claims. What ``authenticate`` would
        say now is asked for with each ping alone.
        """
        await self._runtime().hub.command(do="recheck", user_id=str(user_id))

    async def presence(self, room: str) -> list[Presence]:
        """Return who is in *room*, on every process, each user once.

        It is known for rooms with ``presence=True``; of another ``"user:<id>"`` it tells the
        user's own connections.
        """
        return await self._runtime().presence(room)

    def health(self) -> Health:
        """Return how this process is: its connections, its broker, and what has failed."""
        return self._runtime().health()

    async def drain(self) -> None:
        """Take no more connections in this process, and send away those there are.

        Each is told to come back within ``QUART_REALTIME_RETRY_AFTER`` seconds when its requests
        in flight are answered. It returns when all have gone, or after
        ``QUART_REALTIME_DRAIN_TIMEOUT``. Hypercorn's stopping is noticed without it.
        """
        await self._runtime().drain()

    def _runtime(self) -> Runtime:
        if has_app_context():
            runtime = current_app.extensions.get(EXTENSION)
            if runtime is not None and runtime.registry is self._registry:
                return cast(Runtime, runtime)
        elif len(self._apps) == 1:
            return cast(Runtime, next(iter(self._apps)).extensions[EXTENSION])
        if not self._apps:
            raise RuntimeError("This Realtime has no app yet: call realtime.init_app(app).")
        raise RuntimeError(
            "This Realtime can't tell which app is meant: write async with app.app_context()."
        )


def _own_connection() -> str | None:
    """Return the connection on whose behalf this code runs: its own, or an HTTP request's."""
    connection = connection_or_none()
    if connection is not None:
        return connection.cause
    return request.headers.get(CONNECTION_HEADER) if has_request_context() else None


async def _answer_http(error: RealtimeError) -> tuple[Response, int]:
    """Answer a RealtimeError that a view has raised for an HTTP client."""
    return cast(Response, current_app.json.response(error.as_payload())), error.status
