"""The inspector's part of the blueprint: who may look, the page's files, and its websocket."""

from __future__ import annotations

import inspect
import logging
import re
from copy import copy
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any, cast

from quart import Blueprint, Response, abort, request, send_from_directory, websocket
from quart.wrappers import Request, Websocket
from quart_schema import hide
from werkzeug.datastructures import Headers

from .door import count_handshake, handshake_of
from .errors import Forbidden, RealtimeError, TokenRefused, Unauthorized
from .handshake import Handshake, origin_is_allowed
from .identity import Identity
from .inspector_link import Looker
from .proxies import see_through
from .routes import Resolved
from .runtime import Runtime
from .settings import Settings

logger = logging.getLogger("quart_realtime")

_FOLDER = Path(__file__).with_name("static") / "inspector"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_FILES = frozenset(file.name for file in _FOLDER.glob("*") if file.suffix in _TYPES)
_LOCAL_HOST = re.compile(r"(localhost|[\w.-]+\.localhost|127(\.\d+){3}|\[::1\])(:\d+)?", re.ASCII)
_OF_PROXIES = re.compile(r"forwarded|x-forwarded-.*|x-real-ip|via")
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def live_path(settings: Settings) -> str:
    """Return the path of the websocket that a page of the inspector looks through."""
    return f"{settings.url}/inspector/live"


class Door:
    """Says who may look at the inspector.

    Args:
        runtime: The app's live side.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.claims = runtime.settings.inspector_claims

    def is_there(self, asked: Request | Websocket) -> bool:
        """Tell whether there is an inspector for whoever asks.

        Where claims are named there is, and a token decides. Else the app must be in debug mode,
        and the browser on this very machine, with no proxy between and no name that might be
        somebody else's.
        """
        if self.claims is not None:
            return True
        if not self._runtime.app.debug:
            return False
        proxied = any(_OF_PROXIES.fullmatch(name.lower()) for name, _ in asked.headers)
        host = asked.headers.get("Host", "")
        local = _is_loopback(self.address(asked)) and _LOCAL_HOST.fullmatch(host.lower())
        if local and not proxied:
            return True
        logger.warning(
            "refused the inspector to %s, which asked for %r: in debug mode it is for this machine "
            'alone; set QUART_REALTIME_INSPECTOR to a claim, such as "inspector", to have it '
            "elsewhere",
            self.address(asked),
            host[:100],
        )
        return False

    def address(self, asked: Request | Websocket) -> str:
        """Return whose request it is, as far as trusted proxies tell it."""
        client: Any = self._scope(asked).get("client")
        return str(client[0]) if client else ""

    def _scope(self, asked: Request | Websocket) -> dict[str, Any]:
        """Return a copy of what the server says of *asked*, as far as trusted proxies tell it."""
        scope = dict(asked.scope)
        if self._runtime.proxies:
            see_through(scope, self._runtime.proxies)
        return scope

    def _at_the_proxy(self, asked: Request | Websocket) -> Request | Websocket:
        """Return *asked* with the scheme and the host that a page of the app's own has.

        A websocket has them: its scope was looked through before it was made.
        """
        if not self._runtime.proxies or isinstance(asked, Websocket):
            return asked
        scope = self._scope(asked)
        outside = copy(asked)
        outside.scheme = scope["scheme"]
        outside.headers = Headers(
            [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        )
        return outside

    async def open_to(self, asked: Request | Websocket) -> tuple[Handshake, Identity | None]:
        """Return what is kept of *asked*, and who may look by it, as :meth:`admit` says.

        Where there is nothing to be seen from there the answer is 404, to a foreign page 403, and
        to who comes too often 429.
        """
        if not self.is_there(asked):
            abort(404)
        count_handshake(self._runtime, self.address(asked))
        # The page alone, whatever other pages the app's own websocket is open to.
        if not origin_is_allowed(self._at_the_proxy(asked), None):
            abort(403)
        handshake = handshake_of(self._runtime, asked)
        return handshake, await self.admit(handshake)

    async def admit(self, handshake: Handshake) -> Identity | None:
        """Return who may look by what *handshake* brings; None where that isn't asked for.

        Raises:
            Unauthorized: it isn't good, or there is none.
            Forbidden: it is, but its claims aren't those that are asked for.
        """
        if self.claims is None:
            return None
        identity = None
        try:
            if handshake.asks:
                identity = await self._runtime.authenticate(handshake, handshake.token)
        except TokenRefused as error:
            logger.warning("refused the inspector to whoever brought a token: %s", error)
            raise
        if identity is None:
            raise Unauthorized("log in with a token")
        self.check_claims(identity)
        return identity

    def check_claims(self, identity: Identity) -> None:
        """Raise Forbidden where *identity*'s claims aren't those that are asked for."""
        for name, value in (self.claims or {}).items():
            found = identity.claims.get(name) if isinstance(identity.claims, dict) else None
            # True alone is true: 1 equals it.
            if type(found) is not type(value) or found != value:
                logger.warning(
                    "refused the inspector to %r: its token has not the claim %r that "
                    "QUART_REALTIME_INSPECTOR names",
                    identity.user_id,
                    name,
                )
                raise Forbidden(f"the token's claim {name!r} doesn't let it look")


def _is_loopback(address: str) -> bool:
    try:
        found = ip_address(address)
    except ValueError:
        return False  # Through a Unix socket: that is some proxy.
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback


def add_inspector(blueprint: Blueprint, runtime: Runtime, opening: str) -> None:
    """Add the inspector to the websocket's blueprint.

    Args:
        blueprint: What it is added to.
        runtime: The app's live side.
        opening: The key of the ASGI scope under which a handshake leaves what opens a connection.
    """
    door = Door(runtime)
    _add_page(blueprint, door, f"{runtime.settings.url}/inspector")

    async def live() -> None:
        """Refuse who may not look, and leave the rest to the connection."""
        opened = cast("Websocket", websocket._get_current_object())  # type: ignore[attr-defined]
        try:
            handshake, identity = await door.open_to(opened)
        except RealtimeError as error:
            abort(error.status)
        look = partial(_look, runtime, door, handshake, identity)
        opened.scope[opening] = look  # type: ignore[literal-required]

    blueprint.add_websocket(live_path(runtime.settings), view_func=live)


def _add_page(blueprint: Blueprint, door: Door, url: str) -> None:
    """Add what a browser gets over HTTP: the page, its files, and whether one may look."""

    async def send(name: str, mimetype: str) -> Response:
        response = await send_from_directory(_FOLDER, name, mimetype=mimetype, cache_timeout=0)
        response.cache_control.no_cache = True
        response.headers.update(_HEADERS)
        return response

    @hide
    async def inspector() -> Response:
        """Send the page."""
        if not door.is_there(request):
            abort(404)
        return await send("inspector.html", "text/html")

    @hide
    async def inspector_file(name: str) -> Response:
        """Send a file of the page's."""
        if name not in _FILES or not door.is_there(request):
            abort(404)
        return await send(name, _TYPES[Path(name).suffix])

    @hide
    async def inspector_login() -> Any:
        """Say whether one may look: a browser isn't told why a websocket is refused."""
        asked = cast("Request", request._get_current_object())  # type: ignore[attr-defined]
        _, identity = await door.open_to(asked)
        return {"user_id": None if identity is None else identity.user_id}

    blueprint.add_url_rule(url, view_func=inspector, methods=["GET"])
    blueprint.add_url_rule(f"{url}/login", view_func=inspector_login, methods=["POST"])
    blueprint.add_url_rule(f"{url}/<path:name>", view_func=inspector_file, methods=["GET"])


async def _look(
    runtime: Runtime,
    door: Door,
    handshake: Handshake,
    identity: Identity | None,
    receive: Any,
    send: Any,
) -> Looker:
    """Return the page's connection, for the caller to run."""

    async def check() -> float | None:
        """Return for how many seconds the page may go on looking; raises where it no longer may."""
        nonlocal identity
        if identity is None:
            return None
        if runtime.token_may_be_revoked():
            identity = await runtime.check_again(handshake, identity)
            door.check_claims(identity)
        return identity.remaining()

    transport = await runtime.take_in(receive, send)
    return Looker(
        runtime.inspector,
        transport,
        handshake.subprotocol,
        _about(runtime),
        check,
        lambda: runtime.draining,
        None if identity is None else identity.remaining(),
    )


def _about(runtime: Runtime) -> dict[str, Any]:
    """Return what a page is told of the app: what answers, what is told, and who may hear it."""
    registry = runtime.registry
    events = {*registry.events, *(emission.event for emission in registry.emissions)}
    return {
        "app": runtime.app.name,
        "node": runtime.hub.node,
        "broker": type(runtime.hub.broker).__name__,
        "login": runtime.settings.inspector_claims is not None,
        "actions": [_action(item) for item in runtime.resolved()],
        "events": sorted(events),
        "rooms": [rule.pattern for rule in registry.rooms],
    }


def _action(item: Resolved) -> dict[str, Any]:
    handler, route = item.handler, item.route
    if route is None:
        arguments = list(inspect.signature(handler.function).parameters)
    else:
        arguments = sorted(route.arguments)
    return {
        "name": handler.name,
        "resource": handler.resource,
        "action": handler.action,
        "login": handler.login,
        "route": None if route is None else f"{route.method} {route.endpoint}",
        "arguments": arguments,
    }
