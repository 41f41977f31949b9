"""A request over the socket made into one that the app handles as if it had come by HTTP."""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote, urlencode

import msgspec
from quart import Quart, Response, has_request_context, request
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException
from werkzeug.http import parse_date, parse_options_header
from werkzeug.routing import BuildError
from werkzeug.routing.converters import FloatConverter
from werkzeug.wrappers import Response as WerkzeugResponse

from .connection import Connection
from .errors import InternalError, InvalidPayload, NotFound
from .identity import Authenticator
from .intake import Intake
from .models import dump
from .results import (
    RouteError,
    body_of,
    error_of,
    is_success,
    json_of,
    refusal_details,
    tells_an_error,
)
from .routes import Route

logger = logging.getLogger("quart_realtime")

_NOTED = "quart_realtime.errors"
PATHS_REMEMBERED = 128
"""Of so many paths it is remembered which route they belong to; one may have 64 KiB."""


def note_errors(app: Quart) -> None:
    """Have *app* tell which exception lies behind a refusal, for requests of :class:`RouteCaller`.

    The responses that its error handlers make of exceptions stay as they are; this only looks on.
    """
    handle = app.handle_user_exception

    async def handle_user_exception(*args: Any) -> Any:  # Quart 0.23 has a context come first.
        if has_request_context():
            request.scope.get(_NOTED, []).append(args[-1])  # type: ignore[attr-defined]
        return await handle(*args)

    app.handle_user_exception = handle_user_exception  # type: ignore


class RouteCaller:
    """Calls routes on behalf of connections, through all that the app does with a request."""

    def __init__(self, app: Quart, authenticator: Authenticator) -> None:
        self._app = app
        self._authenticator = authenticator
        self._urls = app.url_map.bind("localhost")
        # The same few paths are asked for again and again.
        self._endpoint = lru_cache(PATHS_REMEMBERED)(self._match)

    async def call(
        self, connection: Connection, route: Route, intake: Intake, payload: dict[str, Any]
    ) -> bytes:
        """Have the app handle *payload* as a request to *route*, which reads it as *intake* says.

        Returns:
            The JSON of a successful response's body; ``null`` where it is empty.

        Raises:
            InvalidPayload: variables of the URL are missing, or values can't stand in a query.
            NotFound: no URL of the route has these values.
            RealtimeError: the route refused; the error carries its status and body.
        """
        path, rest = self._path(route, intake, payload)
        headers = connection.handshake.headers()
        asked, rest = intake.parts(rest)
        query = _arguments(asked)
        form = urlencode(_arguments(rest)) if intake.is_form else None
        rest |= self._authenticator.carry(connection.identity, route.method, headers, query)
        body = b""
        if form is not None:
            body = form.encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        elif intake.has_body or rest:
            body = dump(rest)
            headers["Content-Type"] = "application/json"
        headers["Content-Length"] = str(len(body))
        noted: list[BaseException] = []
        response = await self._handle(connection, route, path, query, headers, body, noted)
        if "Set-Cookie" in response.headers:
            _keep_cookies(connection, route, response)
        if is_success(response.status_code):
            return await _payload(response)
        raise await _refusal(response, noted)

    def _path(
        self, route: Route, intake: Intake, payload: dict[str, Any]
    ) -> tuple[str, dict[str, Any]]:
        """Build the route's path from the payload; return it with what is left of that.

        A variable that is no key of the payload is taken from the one object in it that has it,
        where it also stays: ``{"message": {"conversation_id": …}}``. A key that the body or the
        query has as well stays there too. Where Quart-Schema converts the casing of JSON,
        ``conversationId`` will do.
        """
        values: dict[str, Any] = {}
        rest = dict(payload)
        for name in route.arguments:
            key = self._key(name, rest)
            if key is not None:
                values[name] = rest[key]
                # Of two spellings the one in camelCase is the body's own.
                own = self._spelled(name)
                if not intake.reads(key) or (own != key and own in rest):
                    del rest[key]
            else:
                nested = [
                    item[key]
                    for item in payload.values()
                    if isinstance(item, dict) and (key := self._key(name, item)) is not None
                ]
                if len(nested) == 1:
                    values[name] = nested[0]
        wrong = {
            name: "must be a string or a number"
            for name, value in values.items()
            if isinstance(value, bool) or not isinstance(value, (str, int, float))
        }
        if wrong:
            raise InvalidPayload(wrong)
        try:
            self._convert(route, values)
            url = self._urls.build(route.endpoint, values, route.method, append_unknown=False)
            path = unquote(url)
            endpoint = self._endpoint(path, route.method)
        except BuildError:
            missing = sorted(route.arguments - set(values))
            raise InvalidPayload(dict.fromkeys(missing, "is missing")) from None
        except (ValueError, OverflowError, HTTPException):
            raise NotFound from None
        # A value with a slash in it may make up the path of quite another route.
        if endpoint != route.endpoint:
            raise NotFound
        return path, rest

    def _key(self, name: str, holder: dict[str, Any]) -> str | None:
        """Return the key of *holder* that stands for the URL's variable *name*, if any does."""
        return next((key for key in (name, self._spelled(name)) if key in holder), None)

    def _spelled(self, name: str) -> str:
        """Return *name* in camelCase where Quart-Schema converts the casing."""
        if not self._app.config.get("QUART_SCHEMA_CONVERT_CASING"):
            return name
        return re.sub(r"_([a-z0-9])", lambda match: match[1].upper(), name)

    def _match(self, path: str, method: str) -> str:
        rule, _ = self._urls.match(path, method, return_rule=True)
        return str(rule.endpoint)

    def _convert(self, route: Route, values: dict[str, Any]) -> None:
        """Convert *values* in place as the route's converters would, had they stood in a URL.

        Raises:
            NotFound: one couldn't stand there.
            ValueError: a converter doesn't take one.
        """
        for rule in self._app.url_map.iter_rules(route.endpoint):
            converters: dict[str, Any] = getattr(rule, "_converters", {})
            if route.method in (rule.methods or ()) and converters.keys() <= values.keys():
                for name, converter in converters.items():
                    value = values[name]
                    if isinstance(converter, FloatConverter) and isinstance(value, int):
                        value = float(value)  # JavaScript writes no 2.0.
                    text = str(value)
                    if not re.fullmatch(converter.regex, text):
                        raise NotFound
                    values[name] = converter.to_python(text)
                return

    async def _handle(
        self,
        connection: Connection,
        route: Route,
        path: str,
        query: list[tuple[str, str]],
        headers: Headers,
        body: bytes,
        noted: list[BaseException],
    ) -> Response | WerkzeugResponse:
        handshake = connection.handshake
        query_string = urlencode(query).encode()
        scope = {
            **handshake.scope(),
            "type": "http",
            "scheme": handshake.scheme,
            "method": route.method,
            "path": handshake.root_path + path,
            "raw_path": quote(handshake.root_path + path).encode(),
            "query_string": query_string,
            "headers": [
                (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers
            ],
            _NOTED: noted,
        }
        http_request = self._app.request_class(
            route.method,
            handshake.scheme,
            path,
            query_string,
            headers,
            handshake.root_path,
            handshake.http_version,
            scope,  # type: ignore[arg-type]
            max_content_length=self._app.config["MAX_CONTENT_LENGTH"],
            body_timeout=None,  # All of it is here, and a time limit would cost a task.
            send_push_promise=_push_nothing,
        )
        http_request.body.set_result(body)
        return await self._app.handle_request(http_request)


def _keep_cookies(
    connection: Connection, route: Route, response: Response | WerkzeugResponse
) -> None:
    """Have the cookies that a response sets come with the connection's next requests.

    So a session goes on, as long as the connection does; to the browser's own cookies there is no
    way from here.
    """
    logger.info(
        "%s sets a cookie over a websocket: it lasts as long as the connection", route.endpoint
    )
    for header in response.headers.getlist("Set-Cookie"):
        pair, _, rest = header.partition(";")
        name, _, value = pair.partition("=")
        options = parse_options_header(f"x;{rest}")[1]
        expires = parse_date(options.get("expires"))
        over = options.get("max-age") == "0" or (
            expires is not None and expires <= datetime.now(UTC)
        )
        connection.handshake.set_cookie(name.strip(), None if over else value.strip())


async def _push_nothing(path: str, headers: Headers) -> None:
    """Ignore a server push: there is no HTTP/2 connection to push on."""


def _arguments(rest: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what is left of a payload as a query or a form; null stands for leaving one out."""
    query: list[tuple[str, str]] = []
    wrong: dict[str, str] = {}
    for name, value in rest.items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, (dict, list)):
                wrong[name] = "must be a string, a number, true or false, or a list of these"
            elif item is not None:
                query.append((name, item if isinstance(item, str) else json.dumps(item)))
    if wrong:
        raise InvalidPayload(wrong)
    return query


async def _payload(response: Response | WerkzeugResponse) -> bytes:
    """Return a response's body as JSON, checked: Python's own writer lets NaN through."""
    body = await body_of(response)
    if not body:
        return b"null"
    if response.is_json:
        try:
            msgspec.json.decode(body)
        except msgspec.DecodeError:
            value = await json_of(response)
            if value is None:
                logger.error("the route answered with JSON that can't be read: %.80r", body)
                raise InternalError from None
            return dump(value)
        return body
    if (response.mimetype or "").startswith("text/"):
        return dump(body.decode(errors="replace"))
    raise InternalError(f"the route answered with {response.mimetype}, which is no JSON")


async def _refusal(response: Response | WerkzeugResponse, noted: list[BaseException]) -> Exception:
    """Return what a route's refusal is over the socket."""
    status = response.status_code
    body = await json_of(response)
    error = await error_of(noted[-1]) if noted else None
    if error is None or tells_an_error(status, body):
        return RouteError(status, body)
    if error.details.get("status", error.status) != status:
        return RouteError(status, body)
    if isinstance(error, InvalidPayload):
        return InvalidPayload(error.fields, **refusal_details(status, body))
    if isinstance(error, RouteError):
        return RouteError(status, body, str(error))
    return error
