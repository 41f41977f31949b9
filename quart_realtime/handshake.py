"""The HTTP request that opens a socket: where it comes from, and what is kept of it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

from attrs import field, frozen
from quart.wrappers import Websocket
from werkzeug.datastructures import Headers

from .protocol import SUBPROTOCOL

_DEFAULT_PORTS = {"http": 80, "https": 443}
_OF_THIS_HOP = frozenset(
    {
        "connection",
        "content-length",
        "content-type",
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
    if allowed is not None:
        return origins[0].lower() in allowed
    scheme = "https" if websocket.scheme == "wss" else "http"
    own = _parts(f"{scheme}://{websocket.headers.get('Host', '')}")
    return own is not None and _parts(origins[0]) == own


def _parts(origin: str) -> tuple[str, str, int] | None:
    """Split an origin into scheme, host and port; None where it is none."""
    try:
        url = urlsplit(origin)
        port = url.port or _DEFAULT_PORTS[url.scheme]
    except (ValueError, KeyError):
        return None
    if not url.hostname or url.path or url.query or url.fragment or "@" in url.netloc:
        return None
    return url.scheme, url.hostname.lower(), port
