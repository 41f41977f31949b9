"""The HTTP request that opens a socket: where it comes from, and what is kept of it."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any, cast

from attrs import field, frozen
from quart.wrappers import Request, Websocket
from werkzeug.datastructures import Headers

from .cookies import set_cookie
from .errors import UnknownVersion
from .protocol import BEARER_PREFIX, SUBPROTOCOLS
from .settings import split_origin

_VERSION = re.compile(r"realtime\.v[0-9]{1,9}")
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
        passed_over: Whether it brings a cookie alone, which wasn't looked at: see
            :func:`cookies_count`.
    """

    token: str | None = field(repr=False)
    asks: bool
    used_up: Collection[str] = ()
    passed_over: bool = False


class Handshake:
    """What a connection keeps of the request that opened it.

    Args:
        opened: Quart's websocket, before it is accepted, or the request for a stream.
        brought: What it brings to log in by.

    """

    __slots__ = (
        "_headers",
        "_scope",
        "asks",
        "http_version",
        "one_way",
        "remote_addr",
        "root_path",
        "scheme",
        "subprotocol",
        "token",
        "unknown_version",
    )

    def __init__(self, opened: Websocket | Request, brought: Brought) -> None:
        self._scope = _without_used_up(cast("dict[str, Any]", opened.scope), brought.used_up)
        # Made from the scope at each request: few connections make any to a route.
        self._headers: Headers | None = None
        self.token = brought.token
        self.asks = brought.asks
        self.remote_addr = opened.remote_addr or ""
        self.one_way = isinstance(opened, Request)
        self.subprotocol: str | None
        self.unknown_version: UnknownVersion | None = None
        try:
            self.subprotocol = choose_version(_offered(opened))
        except UnknownVersion as error:
            # A browser passes on what it is told only over a subprotocol that it has offered.
            self.subprotocol = error.offered[0]
            self.unknown_version = error.with_traceback(None)  # Which holds the websocket.
        self.scheme = _http_scheme(opened)
        self.root_path = opened.root_path
        self.http_version = opened.http_version

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


def _offered(opened: Websocket | Request) -> Sequence[str]:
    return opened.requested_subprotocols if isinstance(opened, Websocket) else ()


def offered_token(opened: Websocket | Request) -> str | None:
    """Return the token that a websocket's subprotocols bear, None where they bear none."""
    found = (name for name in _offered(opened) if name.startswith(BEARER_PREFIX))
    return next((name.removeprefix(BEARER_PREFIX) for name in found), None)


def cookies_count(opened: Websocket | Request) -> bool:
    """Tell whether cookies may say whose handshake it is.

    Browsers send them for whatever page asks. So they count only beside an ``Origin``, which has
    been looked at by then, or where the browser itself says that the page is of the same one, as
    in the Fetch Metadata specification: it sends no ``Origin`` with what only reads.
    """
    return "Origin" in opened.headers or opened.headers.get("Sec-Fetch-Site") == "same-origin"


def choose_version(offered: Sequence[str]) -> str | None:
    """Return the subprotocol of the highest version that both know.

    Args:
        offered: What the client offers, a token perhaps among it.

    Returns:
        None where it offers no version: then it is to know the first.

    Raises:
        UnknownVersion: it offers versions, and none that is known here.
    """
    versions = [name for name in offered if _VERSION.fullmatch(name)]
    known = [name for name in versions if name in SUBPROTOCOLS]
    if versions and not known:
        raise UnknownVersion(versions, list(SUBPROTOCOLS))
    return max(known, key=SUBPROTOCOLS.__getitem__, default=None)


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


def origin_is_allowed(opened: Websocket | Request, allowed: str | Collection[str] | None) -> bool:
    """Tell whether a page of that origin may open a websocket or a stream (RFC 6455, section 10.2).

    Args:
        opened: The handshake.
        allowed: Origins, ``"*"`` for any, None for the app's own alone.

    Returns:
        True also where there is no ``Origin`` header: that is no browser, or a page of our own that
        only reads, and its token decides.
    """
    origins = opened.headers.getlist("Origin")
    if not origins or allowed == "*":
        return True
    if len(origins) > 1:
        return False
    if allowed is None:
        allowed = [f"{_http_scheme(opened)}://{opened.headers.get('Host', '')}"]
    origin = split_origin(origins[0])
    return origin is not None and origin in {split_origin(one) for one in allowed}


def _http_scheme(opened: Websocket | Request) -> str:
    return "https" if opened.scheme in {"wss", "https"} else "http"
