"""The HTTP request that opens a socket: where it comes from, and what is kept of it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, cast

from attrs import field, frozen
from quart.wrappers import Websocket
from werkzeug.datastructures import Headers

from .cookies import set_cookie
from .protocol import BEARER_PREFIX, SUBPROTOCOL
from .settings import split_origin

_OF_THIS_HOP = frozenset(
    {
        # What the answer to the handshake may be like, not those to the requests that follow:
        "accept-encoding",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "range",
        # And what was about this one message, or this one hop (RFC 9110, section 7.6.1):
        "connection",
        "content-length",
        "content-type",
        "expect",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


@frozen
class Brought:
    """What a handshake brings to log in by.

    Args:
        token: The token it shows, None where it shows none.
        asks: Whether it asks to log in; else the first message must.
        used_up: The headers, in lower case, that say nothing to the requests that follow.
    """

    token: str | None = field(repr=False)
    asks: bool
    used_up: Collection[str] = ()


class Handshake:
    """What a connection keeps of the request that opened it.

    Args:
        websocket: Quart's websocket, before it is accepted.
        brought: What it brings to log in by.

    """

    __slots__ = (
        "_headers",
        "_scope",
        "asks",
        "http_version",
        "remote_addr",
        "root_path",
        "scheme",
        "subprotocol",
        "token",
    )

    def __init__(self, websocket: Websocket, brought: Brought) -> None:
        self._scope = _without_used_up(cast("dict[str, Any]", websocket.scope), brought.used_up)
        # Made from the scope at each request: few connections make any to a route.
        self._headers: Headers | None = None
        self.token = brought.token
        self.asks = brought.asks
        self.remote_addr = websocket.remote_addr or ""
        chosen = SUBPROTOCOL in websocket.requested_subprotocols
        self.subprotocol = SUBPROTOCOL if chosen else None
        self.scheme = "https" if websocket.scheme == "wss" else "http"
        self.root_path = websocket.root_path
        self.http_version = websocket.http_version

    def scope(self) -> dict[str, Any]:
        """Return the handshake's scope, as far as it holds for the requests that follow."""
        return {
            key: value
            for key, value in self._scope.items()
            # Quart's test client marks scopes to be kept.
            if key not in {"headers", "subprotocols"} and not key.startswith("_quart")
        }

    def headers(self) -> Headers:
        """Return the headers that a request over the socket carries on, without any token."""
        if self._headers is not None:
            return self._headers.copy()
        headers = Headers({"Remote-Addr": self.remote_addr})
        for name, value in self._scope["headers"]:
            headers.add(name.decode("latin-1").title(), value.decode("latin-1"))
        return headers

    def set_cookie(self, name: str, value: str | None) -> None:
        """Have the requests that follow carry a cookie; None takes it away."""
        self._headers = self.headers()
        set_cookie(self._headers, name, value)


def _without_used_up(scope: dict[str, Any], used_up: Collection[str]) -> dict[str, Any]:
    """Take out of *scope* what was about the handshake alone; tokens are in it.

    It is the server's own too, which holds it as long as the socket.
    """
    scope["headers"] = [
        (name, value)
        for name, value in scope["headers"]
        if (low := name.decode("latin-1").lower()) not in _OF_THIS_HOP
        and low not in used_up
        and not low.startswith("sec-websocket-")
    ]
    scope["subprotocols"] = []
    return scope


def offered_token(websocket: Websocket) -> str | None:
    """Return the token among the subprotocols, the one place where a page can put it."""
    for offered in websocket.requested_subprotocols:
        if offered.startswith(BEARER_PREFIX):
            return offered.removeprefix(BEARER_PREFIX)
    return None


def origin_is_allowed(websocket: Websocket, allowed: str | Collection[str] | None) -> bool:
    """Tell whether a page of that origin may open *websocket* (RFC 6455, section 10.2).

    Args:
        websocket: The handshake.
        allowed: Origins, ``"*"`` for any, None for the app's own alone.

    Returns:
        True also where there is no ``Origin`` header: that is no browser, and its token decides.
    """
    origins = websocket.headers.getlist("Origin")
    if not origins or allowed == "*":
        return True
    if len(origins) > 1:
        return False
    if allowed is None:
        scheme = "https" if websocket.scheme == "wss" else "http"
        allowed = [f"{scheme}://{websocket.headers.get('Host', '')}"]
    origin = split_origin(origins[0])
    return origin is not None and origin in {split_origin(one) for one in allowed}
