"""The HTTP request that opens a socket: where it comes from, and what is kept of it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from attrs import field, frozen
from quart.wrappers import Websocket
from werkzeug.datastructures import Headers

from .protocol import SUBPROTOCOL
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
class Handshake:
    """What a connection keeps of the request that opened it.

    *headers* are those that a request over the socket carries on, without any token.
    """

    headers: Headers = field(repr=False)
    remote_addr: str
    token: str | None = field(repr=False)
    subprotocol: str | None
    scheme: str
    root_path: str
    http_version: str
    scope: dict[str, Any] = field(repr=False)

    @classmethod
    def of(cls, websocket: Websocket, token: str | None, token_header: str) -> Handshake:
        """Take from *websocket* what is kept.

        Args:
            websocket: Quart's websocket, before it is accepted.
            token: The token it brings, None where the first message must.
            token_header: The header that tokens come in; it isn't carried on.
        """
        headers = Headers()
        for name, value in websocket.headers:
            low = name.lower()
            if low not in _OF_THIS_HOP | {token_header.lower()} and not low.startswith(
                "sec-websocket-"
            ):
                headers.add(name, value)
        return cls(
            headers=headers,
            remote_addr=websocket.remote_addr or "",
            token=token,
            subprotocol=SUBPROTOCOL if SUBPROTOCOL in websocket.requested_subprotocols else None,
            scheme="https" if websocket.scheme == "wss" else "http",
            root_path=websocket.root_path,
            http_version=websocket.http_version,
            scope={
                key: value
                for key, value in websocket.scope.items()
                # Tokens are in the first two; Quart's test client marks scopes to be kept.
                if key not in {"headers", "subprotocols"} and not key.startswith("_quart")
            },
        )


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
