"""Where websockets don't get through: events as a stream, and messages one by one, over HTTP."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import Context
from functools import wraps
from typing import Any, cast

import msgspec
from quart import Blueprint, Quart, Response, abort, request
from quart_schema import hide
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException

from . import protocol
from .bookmark import Places, read_bookmark, subscribe_text
from .door import count_handshake, handshake_of, refuse_foreign
from .errors import (
    BadRequest,
    PayloadTooLarge,
    RealtimeError,
    SetupError,
    TokenRefused,
    Unauthorized,
    Unavailable,
    status_for_code,
)
from .frames import Frame, closing_frame, error_frame
from .handshake import Handshake, origin_is_allowed
from .inbox import id_of
from .protocol import CloseCode
from .proxies import see_through
from .registry import describe
from .runtime import Runtime
from .settings import BLUEPRINT, Settings
from .streaming import StreamTransport, as_event
from .transport import Send
from .visit import CONNECTION_HEADER, Visit

_SEND = "quart_realtime.send"
_STREAM = "quart_realtime.stream"
_PREFLIGHT_SECONDS = 600
_STATUS: dict[int, int] = {
    CloseCode.TOKEN_EXPIRED: 401,
    CloseCode.UNAUTHORIZED: 401,
    CloseCode.AUTH_TIMEOUT: 401,
    CloseCode.DISCONNECTED: 403,
    CloseCode.TOO_MANY_CONNECTIONS: 429,
    CloseCode.INTERNAL_ERROR: 500,
}
"""What a stream is answered with that is closed before it is open."""

View = Callable[[], Awaitable[Response]]


def add_fallback(blueprint: Blueprint, runtime: Runtime) -> None:
    """Add the routes of the stream and of messages to the websocket's *blueprint*."""
    url = runtime.settings.url
    doors = (("events", "GET", _events), ("requests", "POST", _requests))
    for name, method, view in doors:
        blueprint.add_url_rule(
            f"{url}/{name}",
            name,
            hide(_for_pages(runtime, method, view)),
            methods=[method, "OPTIONS"],
            provide_automatic_options=False,
        )


def check_streams(app: Quart, url: str) -> None:
    """Raise SetupError where something else stands in the streams' place.

    Args:
        app: The app.
        url: The websocket's path.
    """
    paths = {f"{url}/events", f"{url}/requests"}
    for rule in app.url_map.iter_rules():
        if rule.rule in paths and not rule.endpoint.startswith(f"{BLUEPRINT}."):
            view = describe(app.view_functions[rule.endpoint])
            raise SetupError(
                f"The app has a route of its own at {rule.rule}, {rule.endpoint!r}, which is "
                f"{view}: give one of the two another path, ours by QUART_REALTIME_URL."
            )
    if not hasattr(app.asgi_http_class, "_serves_streams"):
        raise SetupError(
            "app.asgi_http_class was set after Realtime(app), which needs one of its own: set "
            "yours first, ours is made from it."
        )


def with_streams(base: type[Any], runtime: Runtime) -> type[Any]:
    """Make a class for HTTP requests out of *base* that knows when a stream has ended."""
    url = runtime.settings.url
    ours = (f"{url}/events", f"{url}/requests")

    class WithStreams(base):  # type: ignore[misc]
        _serves_streams = True

        def __call__(self, receive: Any, send: Any) -> Any:
            path = self.scope["path"]  # With the root path in front, or without it.
            if path.endswith(ours):
                if runtime.proxies:
                    see_through(self.scope, runtime.proxies)
                # The server's own: Quart 0.23 wraps it before it hands it on.
                self._server_send = send
            return super().__call__(receive, send)

        async def handle_request(self, request: Any, send: Any) -> None:
            if request.path == ours[0]:
                self.scope[_SEND] = self._server_send
            try:
                await super().handle_request(request, send)
            finally:
                # However it has ended: written, given up, or never begun.
                stream, ignoring = self.scope.pop(_STREAM, (None, None))
                if stream is not None:
                    ignoring.cancel()
                    stream.gone()

    return WithStreams


def _for_pages(runtime: Runtime, method: str, answer: Callable[[Runtime], Any]) -> View:
    """Make the view of *answer*, which pages of the allowed origins may ask, and others may not."""

    @wraps(answer)
    async def view() -> Response:
        """Look at the origin, have *answer* asked, and let the page read what it says."""
        allowed = runtime.settings.allowed_origins
        if not origin_is_allowed(request, allowed):
            # Each is a line in the log.
            count_handshake(runtime, request.remote_addr or "")
        refuse_foreign(runtime, request)
        try:
            if request.method == "OPTIONS":
                response = _preflight(runtime, method)
            elif request.method != method:
                abort(405)
            else:
                response = await answer(runtime)
        except HTTPException as error:
            if "Origin" not in request.headers:
                raise
            # A page of another origin is to see that too.
            told = error.get_response()
            response = Response(told.get_data(), told.status_code, Headers(told.headers))
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.vary.add("Origin")
        origin = request.headers.get("Origin")
        if origin is not None:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = "Retry-After"
            if allowed != "*":
                response.headers["Access-Control-Allow-Credentials"] = "true"
        return response

    return view


def _preflight(runtime: Runtime, method: str) -> Response:
    """Answer what a browser asks before a page of another origin may (WHATWG Fetch, "CORS")."""
    token = runtime.authenticator.token_header()
    headers = Headers()
    headers["Access-Control-Allow-Methods"] = method
    headers["Access-Control-Allow-Headers"] = ", ".join(
        (token, "Content-Type", "Last-Event-ID", CONNECTION_HEADER)
    )
    headers["Access-Control-Max-Age"] = str(_PREFLIGHT_SECONDS)
    return Response(status=204, headers=headers)


# The stream


async def _events(runtime: Runtime) -> Response:
    """Open a stream, or say by its status why there is none; the frames are the same."""
    count_handshake(runtime, request.remote_addr or "")
    await runtime.turnstile.pass_through()
    try:
        if request.content_length or "Transfer-Encoding" in request.headers:
            raise BadRequest("ask for a stream without a body")
        places, asked = _asked_for()
        handshake = _handshake(runtime)
        if not handshake.asks:
            raise Unauthorized("show a token: a stream can't be logged in on later")
    except RealtimeError as error:
        return _refused(error)
    scope = cast("dict[str, Any]", request.scope)
    send = cast(Send, scope.pop(_SEND))
    connection, stream = await runtime.connect_stream(handshake, places, send)
    scope[_STREAM] = stream, asyncio.create_task(_ignore(request.body))
    # In a task and a context of its own: it ends after the response, and asks others meanwhile.
    runtime.spawn(connection.run(), Context())
    opening = await stream.opened()
    if opening.code is None and asked is not None:
        connection.hear(asked)
    response = _stream_response(stream)
    if opening.code is not None:
        response.status_code = _status_of_refusal(opening.code)
    if opening.retry_after is not None:
        response.headers["Retry-After"] = str(math.ceil(opening.retry_after))
    return response


async def _ignore(body: AsyncIterator[bytes]) -> None:
    """Keep nothing of a body: over HTTP/2 there may be one that no header tells of."""
    async for _ in body:
        pass


def _status_of_refusal(code: int) -> int:
    return _STATUS.get(code, 503 if protocol.may_reconnect(code) else 403)


def _asked_for() -> tuple[Places, str | None]:
    """Return where the client stood, and the ``subscribe`` message that its request stands for.

    Raises:
        BadRequest: a room, or the last id, can't be one, or the rooms' parameter is misspelt.
    """
    if "room" in request.args:
        raise BadRequest("name each room as rooms=…, not as room=…")
    last = request.headers.get("Last-Event-ID") or request.args.get("last_event_id")
    rooms = request.args.getlist("rooms")
    places = read_bookmark(last, rooms)
    text = subscribe_text(rooms, places)
    if text is not None:
        protocol.decode(text)
    return places, text


def _handshake(runtime: Runtime) -> Handshake:
    opened = request._get_current_object()  # type: ignore[attr-defined]
    return handshake_of(runtime, opened)


def _stream_response(stream: StreamTransport) -> Response:
    response = Response(stream.chunks(), mimetype="text/event-stream")
    response.timeout = None  # Quart would end it after RESPONSE_TIMEOUT, a minute.
    # nginx, and what has learnt from it, would wait for more.
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _refused(error: RealtimeError) -> Response:
    """Tell *error* as a stream does that is closed at once."""
    code = CloseCode.UNAUTHORIZED if error.status == 401 else CloseCode.PROTOCOL_ERROR
    frames = error_frame(None, error), closing_frame(code)
    body = b"".join(map(as_event, frames))
    return Response(body, error.status, mimetype="text/event-stream")


# Messages


async def _requests(runtime: Runtime) -> Response:
    """Answer one message; 202 where the answer comes on the stream."""
    text: str | None = None
    try:
        text = await _text(runtime.settings)
        frame = await _answer(runtime, text)
    except RealtimeError as error:
        frame = error_frame(None if text is None else id_of(text), error)
    if frame is None:
        return Response(status=202)
    return Response(frame.data, _status_of(frame), mimetype="application/json")


async def _text(settings: Settings) -> str:
    """Read the message, no more of it than may be, and for no longer than a stop would wait."""
    most = settings.max_message_size
    data = bytearray()
    size = request.content_length or 0
    try:
        # Quart's BODY_TIMEOUT holds for a body that is awaited whole, and would keep all of it.
        async with asyncio.timeout(min(settings.request_timeout, settings.drain_timeout)):
            while size <= most and (part := await anext(request.body, None)) is not None:
                data += part
                size = max(size, len(data))
    except TimeoutError:
        abort(408)
    if size > most:
        raise PayloadTooLarge(f"at most {most} bytes a message")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise BadRequest("send JSON in UTF-8") from None


async def _answer(runtime: Runtime, text: str) -> Frame | None:
    if runtime.draining:
        raise Unavailable("the server is stopping: try again in a moment")
    await runtime.ensure_started()
    stream_id = request.headers.get(CONNECTION_HEADER)
    if stream_id is not None and not protocol.is_short_name(stream_id):
        raise BadRequest(f"{CONNECTION_HEADER} must be the id that the stream was greeted with")
    address = request.remote_addr or ""
    runtime.handshake_limiter.look(address)
    try:
        return await Visit(runtime, _handshake(runtime), stream_id).ask(text)
    except TokenRefused:
        # As one of a handshake: else tokens could be tried without end.
        runtime.handshake_limiter.check(address)
        raise


class _Told(msgspec.Struct):
    type: str
    payload: msgspec.Raw


def _status_of(frame: Frame) -> int:
    """Return the HTTP status that a frame stands for; a route's error has its own."""
    told = msgspec.json.decode(frame.data, type=_Told)
    if told.type != "error":
        return 200
    payload = json.loads(bytes(told.payload))
    status = payload["details"].get("status")
    if type(status) is int and 400 <= status <= 599:
        return status
    return status_for_code(payload["code"])
