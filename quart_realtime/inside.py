"""The inside of Hypercorn, as far as it is known: from an app's *send* down to the network."""

from __future__ import annotations

import asyncio
import socket as sockets
import struct
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from typing import Any

from attrs import frozen

from .transport import Send

KNOWN_HYPERCORNS = ("0.17.", "0.18.")
"""The versions whose inside is known; others are served by plain ASGI."""
_RESET = struct.pack("ii", 1, 0)
_CANCEL = 8
"""RFC 9113: a stream that isn't needed any more."""


class Unfamiliar(Exception):
    """The server under us isn't one that we know from the inside; the text says why."""


@frozen
class Inside:
    """The parts of Hypercorn that a websocket goes through, from the app's side to the network's.

    *stream* is its websocket, with wsproto's connection; *http* has made it out of h11's;
    *transport* is asyncio's.
    """

    stream: Any
    http: Any
    transport: asyncio.Transport


_PARTS = (
    ("hypercorn.protocol.ws_stream", "WSStream"),
    ("hypercorn.protocol.h11", "H11Protocol"),
    ("hypercorn.asyncio.tcp_server", "TCPServer"),
)


_HTTP_PARTS = (("hypercorn.protocol.http_stream", "HTTPStream"), *_PARTS[1:])
_HTTP2_PARTS = (_HTTP_PARTS[0], ("hypercorn.protocol.h2", "H2Protocol"), _PARTS[2])


def inside_hypercorn(send: Send) -> Inside:
    """Go from Hypercorn's *send* down to the transport.

    Raises:
        Unfamiliar: something on the way isn't as it is known.
    """
    stream, http, server = _parts_under(send, _PARTS)
    if getattr(getattr(server, "config", None), "read_timeout", None) is not None:
        raise Unfamiliar("Hypercorn's read_timeout is set, and ends sockets that it doesn't read")
    if not hasattr(stream, "handshake"):
        raise Unfamiliar(f"Hypercorn {_hypercorn_version()} isn't as it is known")
    return Inside(stream, http, server.writer.transport)


def transport_under(send: Send) -> asyncio.Transport:
    """Return the transport of the websocket that *send* belongs to, which has it for itself.

    Raises:
        Unfamiliar: something on the way isn't as it is known.
    """
    transport: asyncio.Transport = _parts_under(send, _PARTS)[-1].writer.transport
    return transport


def _parts_under(send: Send, known_parts: tuple[tuple[str, str], ...]) -> list[Any]:
    """Return the parts that *send* goes through, the one that has the transport last."""
    part: Any = send
    parts = []
    for known in known_parts:
        part = getattr(part, "__self__", None)
        kind = type(part).__module__, type(part).__qualname__
        if kind != known:
            raise Unfamiliar(f"found {'.'.join(kind)} where {'.'.join(known)} was expected")
        parts.append(part)
        part = getattr(part, "send", None)
    if not _hypercorn_version().startswith(KNOWN_HYPERCORNS):
        raise Unfamiliar(f"Hypercorn {_hypercorn_version()} is not known")
    transport = getattr(getattr(parts[-1], "writer", None), "transport", None)
    if not hasattr(transport, "set_protocol"):
        raise Unfamiliar(f"Hypercorn {_hypercorn_version()} isn't as it is known")
    return parts


class HTTP1Line:
    """A response that has a TCP connection for itself."""

    def __init__(self, send: Send, silence: float) -> None:
        server = _parts_under(send, _HTTP_PARTS)[-1]
        self._transport: asyncio.Transport = server.writer.transport
        _give_up_after(self._transport, silence)

    def hang_up(self) -> None:
        """Free the connection at once."""
        reset(self._transport)

    async def drained(self) -> None:
        """Return at once: Hypercorn's own send waits for the kernel."""


class HTTP2Line:
    """A response that shares its connection with others.

    Hypercorn is to wait while it keeps 32 KiB of one, and doesn't where its client's window is
    shut: taking nothing from the buffer counts there as taking enough.
    """

    def __init__(self, send: Send, silence: float) -> None:
        self._stream, self._http, server = _parts_under(send, _HTTP2_PARTS)
        self._buffers: Any = getattr(self._http, "stream_buffers", None)
        self._stream_id = getattr(self._stream, "stream_id", None)
        if not (
            isinstance(self._buffers, dict)
            and hasattr(self._stream, "closed")
            and hasattr(getattr(self._http, "connection", None), "reset_stream")
            and hasattr(self._http, "_window_updated")
            and hasattr(self._http, "_flush")
        ):
            raise Unfamiliar(f"Hypercorn {_hypercorn_version()} isn't as it is known")
        _give_up_after(server.writer.transport, silence)

    def hang_up(self) -> None:
        """Reset the stream; the others of its connection are still wanted."""
        if not self._stream.closed:
            resetting = asyncio.get_running_loop().create_task(self._reset())
            _resetting.add(resetting)
            resetting.add_done_callback(_resetting.discard)

    async def _reset(self) -> None:
        """Tell the client, when what Hypercorn writes before is on its way, and forget the rest.

        To end the app's part alone would leave the stream open, and its buffer full, for ever.
        """
        with suppress(Exception):  # h2's own, where the stream or the connection has just ended.
            self._http.connection.reset_stream(self._stream_id, _CANCEL)
        buffer = self._buffers.get(self._stream_id)
        if buffer is not None:
            await buffer.close()
            # Its sender finds the stream ended, and lets go of it.
            await self._http._window_updated(self._stream_id)
        await self._http._flush()

    async def drained(self) -> None:
        """Return when nothing is kept back."""
        buffer = self._buffers.get(self._stream_id)
        if buffer is not None and buffer.buffer:
            await buffer.drain()


_resetting: set[asyncio.Task[None]] = set()
"""The event loop keeps only weak references to tasks."""


def _give_up_after(transport: asyncio.Transport, silence: float) -> None:
    """Have the kernel give up a peer that confirms nothing for *silence* seconds (RFC 5482).

    A stream's client says nothing by which it could be missed.
    """
    socket = transport.get_extra_info("socket")
    option = getattr(sockets, "TCP_USER_TIMEOUT", None)
    if socket is not None and option is not None:
        with suppress(OSError):  # It may be no TCP at all.
            socket.setsockopt(sockets.IPPROTO_TCP, option, round(silence * 1000))


def would_wait(transport: asyncio.Transport) -> bool:
    """Tell whether *transport* closes only when its peer has taken the rest, or answered by TLS."""
    try:
        tls = transport.get_extra_info("ssl_object")
        return tls is not None or transport.get_write_buffer_size() > 0
    except AttributeError:
        return False  # Of asyncio's TLS nothing is left that could be asked when it has ended.


def reset(transport: asyncio.Transport) -> None:
    """Free the socket of *transport* at once, whatever the peer does."""
    socket = transport.get_extra_info("socket")
    if socket is not None:
        with suppress(OSError):  # It may have gone already.
            # Else the kernel would keep what a peer doesn't read, and try for minutes.
            socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, _RESET)
    transport.abort()


@cache
def _hypercorn_version() -> str:
    return version("hypercorn")
