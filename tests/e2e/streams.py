"""Event streams and posted messages of a real server, over HTTP/1.1, as they are on the wire."""

from __future__ import annotations

import asyncio
import json
import socket as sockets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast
from urllib.parse import quote, urlencode

import h11

from .raw_socket import BOUND
from .server import Served


class Response:
    """A response whose body is read as it comes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.last_id: str | None = None
        self.retry: int | None = None
        self._text = ""
        self._frames: list[dict[str, Any]] = []
        self._reader = reader
        self.local_port = int(writer.get_extra_info("sockname")[1])
        self._transport = cast("asyncio.Transport", writer.transport)
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT)

    async def ask(self, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        lines = {"Host": "127.0.0.1", "Content-Length": str(len(body)), **headers}
        request = h11.Request(method=method, target=target, headers=list(lines.items()))
        parts: tuple[Any, ...] = (request, h11.Data(body), h11.EndOfMessage())
        self._writer.write(b"".join(self._http.send(part) or b"" for part in parts))
        response = cast(h11.Response, await self._next())
        self.status = response.status_code
        self.headers = {name.decode(): value.decode() for name, value in response.headers}

    async def _next(self) -> Any:
        async with asyncio.timeout(BOUND):
            while (event := self._http.next_event()) is h11.NEED_DATA:
                self._http.receive_data(await self._reader.read(65_536))
        return event

    async def body(self) -> bytes:
        """Return all of it."""
        whole = b""
        while isinstance(event := await self._next(), h11.Data):
            whole += event.data
        return whole

    async def read(self) -> dict[str, Any]:
        """Return the next frame of a stream; EOFError where it has ended."""
        while not self._frames:
            event = await self._next()
            if not isinstance(event, h11.Data):
                raise EOFError
            *blocks, self._text = (self._text + bytes(event.data).decode()).split("\n\n")
            for block in blocks:
                self._frames.append(self._read_block(block))
        return self._frames.pop(0)

    def _read_block(self, block: str) -> dict[str, Any]:
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        self.last_id = fields.get("id", self.last_id)
        self.retry = int(fields["retry"]) if "retry" in fields else self.retry
        return dict(json.loads(fields["data"]))

    async def until(self, kind: str) -> dict[str, Any]:
        """Return the next frame of a type; pings and what else comes before are passed over."""
        while (frame := await self.read())["type"] != kind:
            pass
        return frame

    async def events(self, count: int) -> list[Any]:
        """Return the data of so many events."""
        return [(await self.until("event"))["payload"]["data"] for _ in range(count)]

    async def ended(self) -> dict[str, Any]:
        """Wait for the stream's end; return the ``closing`` frame that said why, {} if none did."""
        last = {}
        try:
            while True:
                last = await self.read()
        except (EOFError, h11.RemoteProtocolError, ConnectionError):
            return last.get("payload", {}) if last.get("type") == "closing" else {}

    def stop_reading(self) -> None:
        self._transport.pause_reading()

    def read_on(self) -> None:
        self._transport.resume_reading()

    def abort(self) -> None:
        self._transport.abort()


@asynccontextmanager
async def asking(
    server: Served,
    method: str,
    path: str,
    *,
    token: str | None = None,
    body: Any = None,
    receive_buffer: int | None = None,
    **headers: str,
) -> AsyncIterator[Response]:
    """Ask, and read the head of the response; underscores in *headers* stand for dashes."""
    bare = sockets.socket(sockets.AF_INET, sockets.SOCK_STREAM)
    bare.setblocking(False)
    if receive_buffer is not None:
        bare.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, receive_buffer)
    async with asyncio.timeout(BOUND):
        await asyncio.get_running_loop().sock_connect(bare, ("127.0.0.1", server.port))
        reader, writer = await asyncio.open_connection(sock=bare, limit=65_536)
    response = Response(reader, writer)
    lines = {name.replace("_", "-"): value for name, value in headers.items()}
    if token is not None:
        lines["Authorization"] = f"Bearer {token}"
    data = b""
    if body is not None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines.setdefault("Content-Type", "application/json")
    try:
        await response.ask(method, path, lines, data)
        yield response
    finally:
        response.abort()


@asynccontextmanager
async def streaming(
    server: Served,
    token: str | None,
    *rooms: str,
    last: str | None = None,
    path: str = "/ws/events",
    **more: Any,
) -> AsyncIterator[Response]:
    """Open a stream, and read nothing of it yet."""
    if last is not None:
        more["Last_Event_ID"] = last
    query = urlencode([("rooms", room) for room in rooms], quote_via=quote)
    target = f"{path}?{query}" if query else path
    async with asking(server, "GET", target, token=token, **more) as response:
        yield response


async def post_message(
    server: Served, token: str | None, frame: Any, **headers: str
) -> tuple[int, Any]:
    """Post one message; return the status, and the answer where there is one."""
    async with asking(
        server, "POST", "/ws/requests", token=token, body=frame, **headers
    ) as response:
        body = await response.body()
        is_json = response.headers.get("content-type", "").startswith("application/json")
        return response.status, json.loads(body) if is_json else None
