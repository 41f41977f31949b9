"""The websocket's blueprint: from Quart's handshake to a connection of ours; the client's files."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from pathlib import Path
from typing import Any, cast

from quart import Blueprint, Quart, Response, abort, send_from_directory, websocket
from quart.wrappers import Websocket
from quart_schema import hide

from .documentation import Documentation
from .door import count_handshake, handshake_of, refuse_foreign
from .errors import SetupError
from .fallback import add_fallback, check_streams
from .inspector_pages import add_inspector, live_path
from .proxies import see_through
from .registry import calling_line, describe
from .runtime import Runtime
from .settings import BLUEPRINT

logger = logging.getLogger("quart_realtime")

EXTENSION = "QUART_REALTIME"
_OPENING = "quart_realtime.opening"
_CLIENT = Path(__file__).with_name("static")
_CLIENT_FILES = frozenset(file.name for file in _CLIENT.glob("*.js"))
_SOCKET_SCHEMES = {"http": "ws", "https": "wss"}


def runtime_of(app: Quart) -> Runtime:
    """Return the live side of *app*'s Realtime.

    Raises:
        SetupError: it has none.
    """
    try:
        return cast(Runtime, app.extensions[EXTENSION])
    except KeyError:
        raise SetupError(
            f"The app {app.name!r} has no Realtime, for {calling_line()}: call Realtime(app)."
        ) from None


def make_blueprint(runtime: Runtime) -> Blueprint:
    """Make the blueprint of an app's websocket.

    Its view decides whether there is to be a connection; Quart's routing and hooks hold for that.
    The connection itself is lived outside of Quart's contexts, see :func:`handing_over`.
    """
    blueprint = Blueprint(BLUEPRINT, __name__)

    async def connect() -> None:
        """Refuse who comes too often and foreign pages, and leave the rest to the connection."""
        opened = cast("Websocket", websocket._get_current_object())  # type: ignore[attr-defined]
        count_handshake(runtime, opened.remote_addr or "")
        refuse_foreign(runtime, opened)
        opening = partial(runtime.connect, handshake_of(runtime, opened))
        opened.scope[_OPENING] = opening  # type: ignore[literal-required]

    @hide
    async def client(name: str) -> Response:
        """Send a file of the JavaScript client."""
        if name not in _CLIENT_FILES:
            abort(404)
        response = await send_from_directory(
            _CLIENT, name, mimetype="text/javascript", cache_timeout=0
        )
        # Its modules import each other, so that old and new ones must never be mixed.
        response.cache_control.no_cache = True
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    blueprint.add_websocket(runtime.settings.url, view_func=connect)
    path = f"{runtime.settings.url}/client/<path:name>"
    blueprint.add_url_rule(path, view_func=client, methods=["GET"])
    add_fallback(blueprint, runtime)
    add_inspector(blueprint, runtime, _OPENING)
    Documentation(runtime).add_to(blueprint)
    return blueprint


def check_endpoint(app: Quart) -> None:
    """Raise SetupError where something else stands in the websocket's place."""
    url = runtime_of(app).settings.url
    rules = [rule for rule in app.url_map.iter_rules() if rule.websocket and rule.rule == url]
    others = [rule.endpoint for rule in rules if not rule.endpoint.startswith(f"{BLUEPRINT}.")]
    if others:
        view = describe(app.view_functions[others[0]])
        raise SetupError(
            f"The app has a websocket of its own at {url}, {others[0]!r}, which is {view}: give "
            "one of the two another path, ours by QUART_REALTIME_URL."
        )
    if not hasattr(app.asgi_websocket_class, "_serve_realtime"):
        raise SetupError(
            "app.asgi_websocket_class was set after Realtime(app), which needs one of its own: "
            "set yours first, ours is made from it."
        )
    check_streams(app, url)


class _Answer:
    """What the app answers a handshake itself: a refusal, or a hook that takes the socket."""

    def __init__(self, send: Any) -> None:
        self._send = send
        self.given = False

    async def send(self, message: dict[str, Any]) -> None:
        """Pass it on."""
        self.given = True
        await self._send(message)


def handing_over(base: type[Any]) -> type[Any]:
    """Make a connection class that lives realtime connections itself, and all others as *base*.

    Quart's own keeps its contexts, two tasks and an unbounded queue for as long as a websocket is
    open; here Quart's part is over with the handshake.
    """

    class HandingOver(base):  # type: ignore[misc]
        def __call__(self, receive: Any, send: Any) -> Any:
            # A proxy's fix for the scheme names HTTP's, which Quart takes for no websocket's.
            self.scope["scheme"] = _SOCKET_SCHEMES.get(self.scope["scheme"], self.scope["scheme"])
            answer = _Answer(send)
            websocket = self._create_websocket_from_scope(answer.send)
            runtime = runtime_of(self.app)
            if websocket.path not in (runtime.settings.url, live_path(runtime.settings)):
                return super().__call__(receive, send)
            if runtime.proxies:
                see_through(self.scope, runtime.proxies)
                websocket = self._create_websocket_from_scope(answer.send)
            return self._serve_realtime(websocket, answer, receive, send)

        async def _serve_realtime(
            self, websocket: Any, answer: _Answer, receive: Any, send: Any
        ) -> None:
            runtime = runtime_of(self.app)
            await runtime.turnstile.pass_through()
            # A task of its own, so that no context of the app's outlives the handshake.
            deciding = asyncio.ensure_future(self.handle_websocket(websocket, answer.send))
            try:
                async with asyncio.timeout(runtime.settings.auth_timeout):
                    await deciding
            except TimeoutError:
                if not deciding.cancelled():
                    raise
                logger.warning("the app took too long to decide about a websocket's handshake")
                return
            opening = self.scope.pop(_OPENING, None)
            if opening is None or answer.given:
                return
            # All that the handshake needed would be kept for as long as the connection lives.
            del websocket, answer, deciding
            self.__dict__.clear()
            connection = await opening(receive, send)
            del opening
            await connection.run()

    return HandingOver
