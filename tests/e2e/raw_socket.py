"""A websocket client without manners: bytes as the test says, read when the test says."""

from __future__ import annotations

import asyncio
import json
import socket as sockets
import ssl as tls
import struct
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, cast

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
FIN, RSV1, RSV2, RSV3 = 0x80, 0x40, 0x20, 0x10
BOUND = 20.0
"""For how many seconds anything is waited for."""


class Frame(NamedTuple):
    """What the server sent."""

    head: int
    payload: bytes

    @property
    def opcode(self) -> int:
        return self.head & 0x0F

    @property
    def code(self) -> int:
        """A close frame's code."""
        return int(struct.unpack("!H", self.payload[:2])[0]) if self.payload else 1005

    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.payload))


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = b"\0\0\0\0",
    length: int | None = None,
) -> bytes:
    """Encode a client's frame; the mask of zeros leaves the payload as it is.

    *length* is what the header claims, where that isn't the payload's.
    """
    size = len(payload) if length is None else length
    head = bytes([(FIN if fin else 0) | rsv | opcode])
    masked = 0 if mask is None else 0x80
    if size < 126:
        head += bytes([masked | size])
    elif size < 65_536:
        head += struct.pack("!BH", masked | 126, size)
    else:
        head += struct.pack("!BQ", masked | 127, size)
    if mask is not None and any(mask):
        payload = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
    return head + (mask or b"") + payload


def text(message: str | dict[str, Any]) -> bytes:
    """Encode a whole text message."""
    data = message if isinstance(message, str) else json.dumps(message)
    return frame(TEXT, data.encode())


def close(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, struct.pack("!H", code) + reason)


def deflated(data: bytes, level: int = 9) -> bytes:
    """Compress a message's payload as permessage-deflate does (RFC 7692, section 7.2.1)."""
    deflater = zlib.compressobj(level, zlib.DEFLATED, -15)
    return (deflater.compress(data) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]


class RawSocket:
    """A connection whose handshake is done; nothing is read or answered by itself."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.local_port = int(writer.get_extra_info("sockname")[1])
        self._reader = reader
        self._writer = writer
        self._transport = cast("asyncio.Transport", writer.transport)
        self._inflater = zlib.decompressobj(-15)
        self.response = ""

    async def send(self, data: bytes) -> None:
        """Write; raises OSError when the server has gone."""
        async with asyncio.timeout(BOUND):
            self._writer.write(data)
            await self._writer.drain()

    def stop_reading(self) -> None:
        """Let the kernel's buffer, and then the server's, fill up."""
        self._transport.pause_reading()

    def read_on(self) -> None:
        self._transport.resume_reading()

    async def read(self) -> Frame:
        """Return the next frame, inflated where it is compressed.

        Raises EOFError or OSError when there is none any more.
        """
        async with asyncio.timeout(BOUND):
            head, size = await self._reader.readexactly(2)
            if size == 126:
                (size,) = struct.unpack("!H", await self._reader.readexactly(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", await self._reader.readexactly(8))
            payload = await self._reader.readexactly(size)
        if head & RSV1:
            payload = self._inflater.decompress(payload + b"\0\0\xff\xff")
        return Frame(head, payload)

    async def message(self) -> dict[str, Any]:
        """Return the next text message, read as JSON."""
        while (got := await self.read()).opcode != TEXT:
            assert got.opcode == PING, got
        return got.json()

    async def closed(self) -> int:
        """Return the code that the server closes with; 1006 where it just hangs up."""
        try:
            while (got := await self.read()).opcode != CLOSE:
                pass
        except (EOFError, ConnectionError):
            return 1006
        return got.code

    async def dropped(self) -> None:
        """Wait until the TCP connection has ended, whatever comes before that."""
        async with asyncio.timeout(BOUND):
            try:
                while await self._reader.read(65_536):
                    pass
            except OSError:
                pass

    async def send_until_dropped(self, data: bytes, most: int) -> None:
        """Write *data* again and again until that fails, *most* bytes at most."""
        sent = 0
        try:
            while sent < most:
                await self.send(data)
                sent += len(data)
        except TimeoutError:
            raise AssertionError(f"the server took {sent} bytes, and hung up on none") from None
        except OSError:
            return
        raise AssertionError(f"the server still took what came after {most} bytes")

    def abort(self) -> None:
        self._transport.abort()


def upgrade(path: str = "/ws", token: str | None = None, *more: str) -> bytes:
    """Write the HTTP request that opens a socket; *more* are lines of its head."""
    protocols = [] if token is None else [f"Sec-WebSocket-Protocol: realtime.v1, bearer.{token}"]
    lines = [
        f"GET {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        *protocols,
        *more,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


@asynccontextmanager
async def raw_socket(
    port: int,
    token: str | None = None,
    *more: str,
    path: str = "/ws",
    receive_buffer: int | None = None,
    ssl: tls.SSLContext | None = None,
) -> AsyncIterator[RawSocket]:
    """Open a socket; where there is a token, read the greeting.

    A small *receive_buffer* is what the kernel takes before the server notices a slow reader.
    """
    bare = sockets.socket(sockets.AF_INET, sockets.SOCK_STREAM)
    bare.setblocking(False)
    bare.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, True)
    if receive_buffer is not None:
        bare.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, receive_buffer)
    async with asyncio.timeout(BOUND):
        try:
            await asyncio.get_running_loop().sock_connect(bare, ("127.0.0.1", port))
            reader, writer = await asyncio.open_connection(
                sock=bare, ssl=ssl, server_hostname="localhost" if ssl else None, limit=65_536
            )
        except BaseException:
            bare.close()  # A server that is slow to accept is given up here; nobody owns it yet.
            raise
        raw = RawSocket(reader, writer)
        try:
            await raw.send(upgrade(path, token, *more))
            raw.response = (await reader.readuntil(b"\r\n\r\n")).decode()
            assert raw.response.startswith("HTTP/1.1 101"), raw.response
            if token is not None:
                assert (await raw.message())["type"] == "connected"
        except BaseException:
            raw.abort()
            raise
    try:
        yield raw
    finally:
        raw.abort()
