"""A request frame to its route or native handler, and what comes of it back to an answer."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Mapping
from contextvars import Context
from typing import Any

import msgspec
from quart import Quart

from .broker import Broker
from .connection import Connection
from .context import in_connection
from .deadline import contained, ends_its_task, within
from .errors import (
    InternalError,
    NotFound,
    RealtimeError,
    RequestTimeout,
    Unauthorized,
)
from .frames import Answer
from .identity import Authenticator
from .intake import Intake
from .limits import KeptAnswers, UserLimiter
from .models import dump
from .native import NativeHandler, encoded
from .protocol import Request
from .registry import AnyFunction, called
from .results import error_of
from .route_requests import RouteCaller
from .routes import Resolutions, Resolved
from .settings import Settings
from .telemetry import Telemetry

logger = logging.getLogger("quart_realtime")

_NOT_RUN = frozenset({"unauthorized", "rate_limited", "unavailable"})
"""Answers that say to try again: a request's key isn't used up by them."""


class Dispatcher:
    """Answers the requests of all connections of one app.

    Args:
        app: The app whose routes and handlers answer.
        resolved: The handlers, each with its route where it has one.
        natives: Those that have none, ready to be called.
        intakes: What the routes of the others read.
        settings: The app's limits.
        broker: What runs requests with a key only once.
        authenticator: Tells who clients are, to routes and handlers too.
        limiter: Counts what each user asks of handlers with a rate of their own.
        telemetry: Is told how requests were answered.

    Attributes:
        resolved: The handlers, by resource and action.
    """

    def __init__(
        self,
        app: Quart,
        resolved: Resolutions,
        natives: Mapping[tuple[str, str], NativeHandler],
        intakes: Mapping[tuple[str, str], Intake],
        settings: Settings,
        broker: Broker,
        authenticator: Authenticator,
        limiter: UserLimiter,
        telemetry: Telemetry,
    ) -> None:
        self._app = app
        self.resolved = resolved
        self._settings = settings
        self._broker = broker
        self._authenticator = authenticator
        self._limiter = limiter
        self._kept = KeptAnswers()
        self._telemetry = telemetry
        self._routes = RouteCaller(app, authenticator)
        self._natives = natives
        self._intakes = intakes

    async def answer(self, connection: Connection, request: Request) -> Answer:
        """Have *request* answered; whatever else goes wrong is an answer too.

        Raises:
            RateLimited: it isn't run, its user having asked for too much.
        """
        began = time.perf_counter()
        try:
            resolved = self._find(connection, request)
        except RealtimeError as error:
            # Names that a client made up are told to nobody, and count as one.
            self._tell(connection, None, error.code, began)
            return Answer.of_error(error)
        rate = resolved.handler.rate_limit
        if rate is not None:
            await self._limiter.check_handler(resolved.handler.name, rate, connection.who)
        try:
            if request.key is None:
                answer = await self._answer(connection, resolved, request)
            else:
                answer = await self._answer_once(connection, resolved, request)
        except RealtimeError as error:
            answer = Answer.of_error(error)
        self._tell(connection, resolved, answer.error_code, began)
        return answer

    def _tell(
        self, connection: Connection, resolved: Resolved | None, code: str | None, began: float
    ) -> None:
        seconds = time.perf_counter() - began
        if resolved is None:
            self._telemetry.answered(connection, "unknown", "unknown", code, seconds)
        else:
            handler = resolved.handler
            self._telemetry.answered(connection, handler.resource, handler.action, code, seconds)

    def _unauthorized(self, connection: Connection) -> Unauthorized:
        if not connection.handshake.one_way:
            return Unauthorized()
        header = self._authenticator.token_header()
        return Unauthorized(
            f"log in first: show a token in the {header} header; where the app logs in by cookies, "
            "send the cookie and an Origin that is allowed"
        )

    def _find(self, connection: Connection, request: Request) -> Resolved:
        resolved = self.resolved.get((request.resource, request.action))
        if connection.identity is None and (resolved is None or resolved.handler.login):
            # Before login all names look alike, so that they can't be probed for.
            raise self._unauthorized(connection)
        if resolved is None:
            raise NotFound(
                f"there is no {request.resource}.{request.action}",
                resource=request.resource,
                action=request.action,
            )
        return resolved

    async def _answer_once(
        self, connection: Connection, resolved: Resolved, request: Request
    ) -> Answer:
        """Answer a request that runs once under its key, however often it is sent."""
        who = connection.who
        self._kept.check(who)
        # Whoever isn't logged in has a namespace apart from users, whatever these are called.
        whose = f"\0{connection.id}" if connection.identity is None else connection.user_id
        key = f"{whose}\0{request.key}"
        # Kept for as long as the answer: of a payload of any size, so much.
        asked = hashlib.sha256(dump([request.resource, request.action, request.payload]))
        ttl = self._settings.idempotency_ttl
        kept = await self._broker.begin(key, asked.hexdigest(), ttl)
        if kept is not None:
            return msgspec.convert(msgspec.json.decode(kept), Answer)
        try:
            answer = await self._answer(connection, resolved, request)
        except BaseException:
            await self._broker.abandon(key)
            raise
        if answer.error_code in _NOT_RUN:
            await self._broker.abandon(key)
        else:
            told = dump(answer)
            self._kept.add(who, len(told), ttl)
            await self._broker.finish(key, told)
        return answer

    async def _answer(self, connection: Connection, resolved: Resolved, request: Request) -> Answer:
        seconds = resolved.handler.timeout or self._settings.request_timeout
        try:
            return Answer(await within(seconds, self._run(connection, resolved, request)))
        except (Exception, asyncio.CancelledError) as error:
            if ends_its_task(error):
                raise
            told = await error_of(error)
            if isinstance(told, RequestTimeout):
                logger.warning("%s took more than %g s", resolved.handler.name, seconds)
            if told is not None:
                return Answer.of_error(told)
            logger.exception("%s failed", resolved.handler.name)
            return Answer.of_error(InternalError())

    async def _run(self, connection: Connection, resolved: Resolved, request: Request) -> bytes:
        in_connection(connection)
        if resolved.route is not None:
            intake = self._intakes[request.resource, request.action]
            return await self._routes.call(connection, resolved.route, intake, request.payload)
        await self.look_again(connection)
        identity = connection.identity
        native = self._natives[request.resource, request.action]
        async with self._app.app_context():
            self._authenticator.log_in(identity)
            try:
                return await native(self._app, request.payload)
            except Exception as error:
                if await error_of(error) is not None:
                    raise
                return await self._by_error_handler(error)

    async def _by_error_handler(self, error: Exception) -> bytes:
        """Answer as the app's own handler of such errors does; raise *error* where it has none."""
        handlers = self._app.error_handler_spec[None][None]
        for kind in type(error).__mro__:
            if kind in handlers:
                result = await self._app.ensure_async(handlers[kind])(error)
                return await encoded(result)
        raise error

    async def look_again(self, connection: Connection) -> None:
        """Check a token that may have been revoked, and load its user anew, where that is cheap.

        Raises:
            TokenRefused: it is no longer good.
        """
        identity = connection.identity
        if identity is not None and self._authenticator.is_asked_each_time():
            fresh = await self._authenticator.check_again(connection.handshake, identity)
            if connection.identity is identity:
                connection.identity = fresh

    async def run_hook(
        self, connection: Connection, function: AnyFunction, *arguments: Any, **named: Any
    ) -> Any:
        """Run a hook or a room's authoriser as a native handler runs, and return its result."""
        work = contained(self._run_hook(connection, function, arguments, named))
        async with asyncio.timeout(self._settings.request_timeout):
            # A context of its own, since an app context would be shared with whatever is around.
            return await asyncio.get_running_loop().create_task(work, context=Context())

    async def _run_hook(
        self,
        connection: Connection,
        function: AnyFunction,
        arguments: tuple[Any, ...],
        named: dict[str, Any],
    ) -> Any:
        in_connection(connection)
        async with self._app.app_context():
            self._authenticator.log_in(connection.identity)
            return await self._app.ensure_async(called(function))(*arguments, **named)
